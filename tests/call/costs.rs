//! What calls cost, over real sockets: what a provider reports is charged to the last picodollar, what it does not report is estimated and marked,
//! and what the meta of calls says adds up to what `costs()` does.

use crate::routes::*;
use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Answer, Client, Endpoint, Mode};
use trunkline::policy::money::{Period, Window};

const PROTOCOLS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// Of which every kind has its own decimal place.
fn price() -> Value {
    json!({ "input": 1, "cachedInput": 0.1, "cacheWrite": 10, "output": 100, "reasoning": 1000 })
}

fn priced(more: Value) -> Value {
    merge(json!({ "pricing": { "m": price() } }), more)
}

fn costs(client: &Client) -> Value {
    serde_json::to_value(client.costs(Period::All)).unwrap()
}

fn cost(answer: &Answer) -> Value {
    meta_of(answer)["cost"].clone()
}

/// In dollars, of what costs `price()`.
fn dollars(input: u64, output: u64) -> f64 {
    (input + output * 100) as f64 / 1e6
}

fn near(one: &Value, other: f64) {
    let one = one.as_f64().unwrap();
    assert!((one - other).abs() < 1e-12, "{one} is not {other}");
}

#[tokio::test]
async fn every_kind_of_token_is_charged_whatever_is_spoken() {
    for protocol in PROTOCOLS {
        let site = Site::with(Way::H1, json!({}), priced(json!({ "protocol": protocol })));
        let usage = json!({
            "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": { "cached_tokens": 20, "cache_write_tokens": 30 },
            "completion_tokens_details": { "reasoning_tokens": 7 },
        });
        site.says(json!({ "content": "hi", "usage": usage }));
        // Only Anthropic's protocol and OpenAI's tell of what was written to a cache, and Anthropic's not of thoughts, unless there are some.
        let whole = site.chat().await.unwrap();
        let streamed = site.stream(Mode::Objects).await.result.unwrap();
        let usage = &meta_of(&whole)["usage"];
        let of = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        let (cached, written) =
            (of("/prompt_tokens_details/cached_tokens"), of("/prompt_tokens_details/cache_write_tokens"));
        let thought = of("/completion_tokens_details/reasoning_tokens");
        assert_eq!(
            (of("/prompt_tokens"), of("/completion_tokens"), cached),
            (100, 50, 20),
            "{protocol}: {usage}"
        );
        let plain = 100 - cached - written;
        let expected =
            (plain * 10 + cached + written * 100 + (50 - thought) * 1000 + thought * 10_000) as f64 / 1e7;
        near(&cost(&whole), expected);
        near(&cost(&streamed), expected);
        assert_eq!(meta_of(&whole)["usageEstimated"], false);
        let report = costs(&site.client);
        near(&report["total"], expected * 2.0);
        near(&report["byModel"]["m"]["cost"], expected * 2.0);
        assert_eq!((&report["byModel"]["m"]["requests"], &report["estimated"]), (&json!(2), &json!(0.0)));
        near(&site.metrics()["cost"], expected * 2.0);
    }
}

#[tokio::test]
async fn what_has_no_price_is_listed_and_never_guessed() {
    let site = Site::with(Way::H1, json!({}), json!({}));
    // The stand-in is not at the vendor's address, whatever its model is called.
    let body = with(json!({ "model": "gpt-4o" }));
    let answer = site.client.call(site.make(Endpoint::Chat, &body, json!({}))).await.unwrap();
    assert_eq!(cost(&answer), Value::Null);
    let report = costs(&site.client);
    assert_eq!((&report["total"], &report["unpriced"]), (&json!(0.0), &json!(["gpt-4o"])));
    assert_eq!(report["byModel"]["gpt-4o"]["requests"], 1);
    assert_eq!(report["budget"], Value::Null);
}

#[tokio::test]
async fn a_provider_that_reports_nothing_is_estimated_and_marked() {
    let site = Site::with(Way::H1, json!({}), priced(json!({})));
    let text = "word ".repeat(80);
    let answer = json!({ "id": "c", "object": "chat.completion", "model": "m", "choices": [
        { "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }] });
    site.says(json!({ "raw": { "body": answer.to_string(), "contentType": "application/json" } }));
    let whole = site.chat().await.unwrap();
    let chunk = json!({ "id": "c", "model": "m", "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": "stop" }] });
    site.streams(&format!("data: {chunk}\n\ndata: [DONE]\n\n"));
    let streamed = site.stream(Mode::Objects).await.result.unwrap();
    let prompt = request().to_string().len().div_ceil(4) as u64;
    for answer in [&whole, &streamed] {
        let meta = meta_of(answer);
        let usage = &meta["usage"];
        assert_eq!((&meta["usageEstimated"], &usage["prompt_tokens"]), (&json!(true), &json!(prompt)));
        let output = usage["completion_tokens"].as_u64().unwrap();
        assert!((100..=102).contains(&output), "{output}");
        near(&meta["cost"], dollars(prompt, output));
    }
    let report = costs(&site.client);
    assert_eq!(report["estimated"], report["total"]);
}

/// A stream whose caller leaves after some of it.
async fn left(site: &Site) {
    let call = site.make(Endpoint::Chat, &request(), json!({}));
    let outlet = std::sync::Arc::new(trunkline::client::Outlet::default());
    assert!(outlet.choose(Mode::Text));
    let mut running = Box::pin(site.client.stream(call, outlet.clone()));
    let got = async {
        let mut text = String::new();
        while text.len() < 40 {
            match outlet.take() {
                Some(delivery) => {
                    outlet.read(delivery.bytes);
                    text.push_str(&delivery.text);
                }
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::select! {
        _ = &mut running => panic!("it was to be left"),
        () = got => {}
    }
}

#[tokio::test]
async fn a_stream_that_its_caller_leaves_is_charged_by_what_came_of_it() {
    for protocol in PROTOCOLS {
        let site = Site::with(Way::H1, json!({}), priced(json!({ "protocol": protocol })));
        let usage = json!({ "prompt_tokens": 1234, "completion_tokens": 500, "total_tokens": 1734 });
        site.says(json!({ "content": "word ".repeat(100), "usage": usage, "chunks": 100 }));
        site.once(json!({ "kind": "stall", "afterTokens": 20, "for": 60_000 }));
        left(&site).await;
        site.quiet().await;
        let report = costs(&site.client);
        let row = &report["byModel"]["m"];
        assert_eq!((&row["requests"], &report["estimated"]), (&json!(1), &report["total"]), "{protocol}");
        let input = row["inputTokens"].as_u64().unwrap();
        match protocol {
            "openai" => assert_eq!(input, request().to_string().len().div_ceil(4) as u64),
            // They say at the beginning what went in.
            _ => assert_eq!(input, 1234, "{protocol}"),
        }
        assert!(row["outputTokens"].as_u64().unwrap() >= 10, "{protocol}: {row}");
        assert_eq!(site.metrics()["requests"]["aborted"], 1);
    }
}

#[tokio::test]
async fn a_refused_attempt_is_free_and_one_that_broke_off_is_estimated() {
    let site = Site::with(Way::H1, json!({}), priced(json!({})));
    site.says(json!({ "content": "hi", "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }));
    for fault in [json!({ "kind": "status", "status": 500 }), json!({ "kind": "status", "status": 429 })] {
        site.once(fault);
        let answer = site.chat().await.unwrap();
        near(&cost(&answer), dollars(10, 5));
        assert_eq!(meta_of(&answer)["usageEstimated"], false);
    }
    site.once(json!({ "kind": "reset", "after": "request" }));
    let answer = site.chat().await.unwrap();
    let prompt = request().to_string().len().div_ceil(4) as u64;
    near(&cost(&answer), dollars(10 + prompt, 5));
    let meta = meta_of(&answer);
    assert_eq!((&meta["usageEstimated"], &meta["usage"]["prompt_tokens"]), (&json!(true), &json!(10)));
    let report = costs(&site.client);
    assert_eq!(report["byModel"]["m"]["requests"], 4);
    near(&report["estimated"], dollars(prompt, 0));
    near(&report["total"], dollars(30 + prompt, 15));
}

#[tokio::test]
async fn a_rival_that_lost_is_a_part_of_what_the_call_cost() {
    for way in WAYS {
        let site = Site::with(way, json!({}), priced(json!({ "hedge": { "delay": 20, "budget": 1 } })));
        site.says(json!({ "content": "hi", "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }));
        site.once(json!({ "kind": "silence" }));
        let answer = site.chat().await.unwrap();
        let prompt = request().to_string().len().div_ceil(4) as u64;
        near(&cost(&answer), dollars(10 + prompt, 5));
        assert_eq!(meta_of(&answer)["usageEstimated"], true);
        near(&costs(&site.client)["total"], dollars(10 + prompt, 5));
    }
}

#[tokio::test]
async fn each_target_that_was_asked_is_charged_to_its_own_model_and_provider() {
    let options =
        json!({ "pricing": { "m-a": price(), "b/m-b": { "input": 2, "output": 2 } }, "retry": false });
    let routed = Routed::of(Way::H1, 2, options);
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5 });
    routed.reply(1, json!({}), json!({ "content": "hi", "usage": usage }));
    routed.fault(0, json!({ "kind": "reset", "after": "request" }), json!({ "times": OFTEN }));
    let answer = routed.call(Endpoint::Chat, &request(), json!({ "tenant": "acme" })).await.unwrap();
    let prompt = request().to_string().len().div_ceil(4) as u64;
    let (first, second) = (dollars(prompt, 0), 30e-6);
    near(&cost(&answer), first + second);
    let report = costs(&routed.client);
    near(&report["byModel"]["m-a"]["cost"], first);
    near(&report["byModel"]["m-b"]["cost"], second);
    near(&report["byProvider"]["a"], first);
    near(&report["byProvider"]["b"], second);
    near(&report["byTenant"]["acme"], first + second);
    let of = |period| serde_json::to_value(routed.client.costs(period)).unwrap()["total"].clone();
    near(&of(Period::Now(Window::Month)), first + second);
}

#[tokio::test]
async fn the_parts_of_an_embedding_are_one_cost() {
    let site = Site::with(Way::H1, json!({}), json!({ "pricing": { "e": { "input": 1, "output": 0 } } }));
    let answer = site.embed(json!(vec!["four words in here"; 5000])).await.unwrap();
    let meta = meta_of(&answer);
    assert_eq!(meta["attempts"].as_array().unwrap().len(), 3);
    let tokens = meta["usage"]["prompt_tokens"].as_u64().unwrap();
    near(&meta["cost"], tokens as f64 / 1e6);
    assert_eq!(meta["usageEstimated"], false);
    near(&costs(&site.client)["total"], tokens as f64 / 1e6);
}

#[tokio::test]
async fn other_endpoints_cost_what_they_report_and_nothing_else() {
    let site = Site::with(Way::H1, json!({}), priced(json!({})));
    let report =
        |body: Value| json!({ "raw": { "body": body.to_string(), "contentType": "application/json" } });
    let native = json!({ "model": "m", "usage": { "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 100 } });
    site.says(report(native));
    let posted = site.post(json!({})).await.unwrap();
    let meta = meta_of(&posted);
    near(&meta["cost"], dollars(10, 5) + 10e-6);
    assert_eq!(meta["usage"]["prompt_tokens"], 110);
    site.says(report(json!({ "fine": true })));
    let posted = site.post(json!({})).await.unwrap();
    assert_eq!((cost(&posted), meta_of(&posted)["usage"].clone()), (Value::Null, Value::Null));
    assert_eq!(costs(&site.client)["byModel"]["m"]["requests"], 1);
}

#[tokio::test]
async fn events_of_other_endpoints_cost_what_they_report() {
    let site = Site::with(Way::H1, json!({}), priced(json!({})));
    let anthropic = [
        json!({ "type": "message_start", "message": { "model": "m", "usage": { "input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 1 } } }),
        json!({ "type": "content_block_delta", "delta": { "text": "\"usage\"" } }),
        json!({ "type": "message_delta", "usage": { "output_tokens": 5 } }),
    ];
    let responses = [
        json!({ "type": "response.created", "response": { "model": "m", "usage": null } }),
        json!({ "type": "response.completed", "response": { "model": "m", "usage": {
            "input_tokens": 110, "input_tokens_details": { "cached_tokens": 100 }, "output_tokens": 5 } } }),
    ];
    for events in [&anthropic[..], &responses] {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        site.streams(&body);
        let call = site.make(Endpoint::Post("/chat/completions".into()), &request(), json!({}));
        let answer = stream(&site.client, call, Mode::Objects).await.result.unwrap();
        let meta = meta_of(&answer);
        near(&meta["cost"], dollars(10, 5) + 10e-6);
        assert_eq!((&meta["usage"]["prompt_tokens"], &meta["usageEstimated"]), (&json!(110), &json!(false)));
    }
    assert_eq!(costs(&site.client)["byModel"]["m"]["requests"], 2);
}

#[tokio::test]
async fn what_is_not_served_in_the_standard_way_has_a_price_of_its_own() {
    let site = Site::with(Way::H1, json!({}), priced(json!({})));
    let answer = |tier: &str| {
        let body = json!({
            "id": "c", "object": "chat.completion", "model": "m", "service_tier": tier,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "a" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
        });
        json!({ "raw": { "body": body.to_string(), "contentType": "application/json" } })
    };
    site.says(answer("default"));
    near(&cost(&site.chat().await.unwrap()), dollars(10, 5));
    site.says(answer("flex"));
    assert_eq!(cost(&site.chat().await.unwrap()), Value::Null);
    assert_eq!(costs(&site.client)["unpriced"], json!(["m (flex)"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_of_many_calls_side_by_side_are_exact() {
    let site = std::sync::Arc::new(Site::with(Way::H2c, json!({}), priced(json!({}))));
    site.says(json!({ "content": "hi", "usage": { "prompt_tokens": 333, "completion_tokens": 77 } }));
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..2000 {
        let site = site.clone();
        calls.spawn(async move {
            site.chat_with(json!({ "tenant": format!("t{}", n % 3) })).await.unwrap();
        });
        if calls.len() >= 64 {
            calls.join_next().await.unwrap().unwrap();
        }
    }
    calls.join_all().await;
    let report = costs(&site.client);
    // (333 + 77 × 100) × 2000 millionths.
    assert_eq!((&report["total"], &report["byModel"]["m"]["cost"]), (&json!(16.066), &json!(16.066)));
    let tenants = report["byTenant"].as_object().unwrap();
    // Of 667, 667 and 666 calls.
    for (tenant, cost) in [("t0", 5.358_011), ("t1", 5.358_011), ("t2", 5.349_978)] {
        assert_eq!(tenants[tenant], json!(cost));
    }
}

//! Answers from memory over real sockets: what is given again, to whom, and what never is.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Answer, Call, Client, Endpoint, Mode, Outlet};
use trunkline::config::Environment;
use trunkline::error::{Error, Kind};
use trunkline::pool::Tasks;

const MODES: [Mode; 4] = [Mode::Objects, Mode::Text, Mode::Lines, Mode::Whole];

fn caching(more: Value) -> Value {
    merge(json!({ "cache": {} }), more)
}

fn site(options: Value) -> Site {
    Site::with(Way::H2c, json!({}), caching(options))
}

/// A client with a cache, of several providers.
fn client_with(providers: Value) -> Arc<Client> {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let options = merge(caching(providers), json!({ "pool": { "idleTimeout": alone() } }));
    let client = Client::new(options, &Environment::default(), &tasks, Box::new(|_| {}), Box::new(|| {}));
    Arc::new(client.unwrap())
}

/// A request that has one answer.
fn cold() -> Value {
    with(json!({ "temperature": 0 }))
}

impl Site {
    async fn ask(&self, body: &Value, options: Value) -> Result<Answer, Error> {
        self.client.call(self.make(Endpoint::Chat, body, options)).await
    }

    fn figure(&self, name: &str) -> u64 {
        self.metrics()["cache"][name].as_u64().unwrap()
    }
}

#[tokio::test]
async fn an_identical_request_is_answered_from_memory_and_says_so() {
    for way in WAYS {
        let site = Site::with(way, json!({}), caching(json!({})));
        let first = site.ask(&cold(), json!({})).await.unwrap();
        let again = site.ask(&cold(), json!({})).await.unwrap();
        assert_eq!(again.body, first.body);
        let [first, again] = [meta_of(&first), meta_of(&again)];
        assert_eq!((&first["cached"], &again["cached"]), (&json!(false), &json!(true)));
        assert_eq!((&again["attempts"], &again["connection"]), (&json!([]), &json!(null)));
        for same in ["provider", "model", "status", "usage", "dropped"] {
            assert_eq!(again[same], first[same], "{same}");
        }
        let headers: Vec<_> = again["headers"].as_array().unwrap().iter().collect();
        assert_eq!(headers.iter().filter(|name| ***name == "age").count(), 1, "{headers:?}");
        let metrics = site.metrics();
        assert_eq!(
            (site.seen(), &metrics["requests"]["cached"], &metrics["requests"]["succeeded"]),
            (1, &json!(1), &json!(2))
        );
        assert_eq!([site.figure("entries"), site.figure("hits"), site.figure("misses")], [1, 1, 1]);
        assert!((500..4_000).contains(&site.figure("bytes")), "{}", metrics["cache"]);
        let tokens =
            meta_of(&site.ask(&cold(), json!({})).await.unwrap())["usage"]["completion_tokens"].as_u64();
        assert_eq!(metrics["tokens"]["output"].as_u64(), tokens, "tokens are counted where they were used");
        site.quiet().await;
    }
}

#[tokio::test]
async fn how_a_request_is_written_makes_no_other_of_it_and_what_it_says_does() {
    let site = site(json!({}));
    let ask = async |body: &str| {
        let options = site.client.call_options(None).unwrap();
        site.client.call(Call { endpoint: Endpoint::Chat, body: body.into(), options }).await.unwrap();
        site.seen()
    };
    assert_eq!(ask(r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"é"}]}"#).await, 1);
    assert_eq!(ask("{ \"messages\":\n[{\"content\":\"\\u00e9\",\"role\":\"user\"}], \"temperature\": 0.0,\"model\":\"m\" }").await, 1);
    assert_eq!(ask(r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"e"}]}"#).await, 2);
    assert_eq!(ask(r#"{"model":"n","temperature":0,"messages":[{"role":"user","content":"é"}]}"#).await, 3);
    assert_eq!(
        ask(r#"{"model":"m","temperature":0,"user":"u","messages":[{"role":"user","content":"é"}]}"#).await,
        4
    );
}

#[tokio::test]
async fn no_answer_crosses_from_one_tenant_provider_or_credential_to_another() {
    let upstream = start(json!({}));
    let url = format!("{}/v1", upstream.url());
    let providers = json!({ "providers": { "a": { "baseURL": url }, "b": { "baseURL": url } }, "routes": { "r": [{ "provider": "b", "model": "m" }] } });
    let client = client_with(providers);
    let ask = async |body: Value, options: Value| {
        let options = client.call_options(Some(options)).unwrap();
        client.call(Call { endpoint: Endpoint::Chat, body: body.to_string(), options }).await.unwrap()
    };
    let route = || merge(cold(), json!({ "model": "r" }));
    let all = [
        (cold(), json!({})),
        (cold(), json!({ "tenant": "t" })),
        (cold(), json!({ "tenant": "u" })),
        (cold(), json!({ "provider": "b" })),
        (route(), json!({})),
        (cold(), json!({ "headers": { "authorization": "Bearer one" } })),
        (cold(), json!({ "headers": { "authorization": "Bearer two" } })),
        (cold(), json!({ "headers": { "openai-beta": "x" } })),
    ];
    for round in 0..2 {
        for (n, (body, options)) in all.iter().enumerate() {
            let meta = meta_of(&ask(body.clone(), options.clone()).await);
            assert_eq!(meta["cached"], round == 1, "{n} {options}");
        }
    }
    assert_eq!(upstream.requests().len(), all.len());
    // The default one by its name is the same as by default; so is a call with another name for itself.
    for same in [
        json!({ "provider": "a" }),
        json!({ "idempotencyKey": "k" }),
        json!({ "headers": { "traceparent": "00-1" } }),
    ] {
        assert_eq!(meta_of(&ask(cold(), same).await)["cached"], true);
    }
}

#[tokio::test]
async fn what_may_have_another_answer_is_asked_again_unless_the_caller_says_all() {
    let site = site(json!({}));
    for body in [
        request(),
        with(json!({ "temperature": 0, "n": 2 })),
        with(json!({ "temperature": 0, "store": true })),
    ] {
        let before = site.seen();
        for _ in 0..2 {
            assert_eq!(meta_of(&site.ask(&body, json!({})).await.unwrap())["cached"], false);
        }
        assert_eq!(site.seen(), before + 2, "{body}");
    }
    let all = || json!({ "cache": { "when": "all" } });
    site.ask(&request(), all()).await.unwrap();
    assert_eq!(meta_of(&site.ask(&request(), all()).await.unwrap())["cached"], true);
    assert_eq!(meta_of(&site.ask(&with(json!({ "seed": 1 })), json!({})).await.unwrap())["cached"], false);
    assert_eq!(meta_of(&site.ask(&with(json!({ "seed": 1 })), json!({})).await.unwrap())["cached"], true);
}

#[tokio::test]
async fn other_endpoints_are_never_answered_from_memory() {
    let site = site(json!({ "cache": { "when": "all" } }));
    for _ in 0..2 {
        site.post(json!({})).await.unwrap();
    }
    assert_eq!((site.seen(), site.figure("misses")), (2, 0));
}

#[tokio::test]
async fn embeddings_are_kept_in_one_or_in_parts() {
    let site = site(json!({}));
    for (input, requests) in [(json!(["a", "b"]), 1), (json!(vec!["a"; 2_049]), 2)] {
        site.upstream.reset();
        let first = site.embed(input.clone()).await.unwrap();
        let again = site.embed(input).await.unwrap();
        assert!(
            first.body == again.body
                && meta_of(&again)["cached"] == true
                && meta_of(&first)["cached"] == false
        );
        assert_eq!((site.seen(), meta_of(&first)["usage"] == meta_of(&again)["usage"]), (requests, true));
    }
}

#[tokio::test]
async fn a_stream_from_memory_is_piece_by_piece_the_one_that_came() {
    let site = site(json!({ "cache": { "maxBytes": 64_000_000 } }));
    let answers = [
        json!({ "content": "one two \"three\"\n vier fünf 😀" }),
        json!({ "content": "x ".repeat(60_000), "chunks": 300 }),
        json!({ "toolCalls": [{ "function": { "name": "f", "arguments": "{\"a\":1}" } }] }),
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        for usage in [true, false] {
            site.upstream.reset();
            site.says(answer.clone());
            let body =
                merge(cold(), json!({ "user": n.to_string(), "stream_options": { "include_usage": usage } }));
            let first = site.stream_with(Mode::Objects, &body, json!({})).await;
            let whole = body_of(&first.result.unwrap());
            for mode in MODES {
                let again = site.stream_with(mode, &body, json!({})).await;
                let answer = again.result.unwrap();
                assert_eq!(
                    (body_of(&answer), &meta_of(&answer)["cached"]),
                    (whole.clone(), &json!(true)),
                    "{mode:?}"
                );
                match mode {
                    Mode::Objects => assert_eq!(again.chunks, first.chunks),
                    Mode::Text => assert_eq!(again.text, first.text),
                    Mode::Lines => {
                        let lines =
                            again.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                        assert_eq!(lines.collect::<Vec<_>>(), first.chunks);
                    }
                    _ => assert_eq!(again.text, ""),
                }
            }
            assert_eq!(site.seen(), 1);
        }
    }
    site.quiet().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_a_replay_up_to_its_deadline_and_nobody_else() {
    let site = site(json!({}));
    site.says(json!({ "content": "x ".repeat(100_000), "chunks": 500 }));
    site.stream_with(Mode::Text, &cold(), json!({})).await.result.unwrap();
    let outlet = Arc::new(Outlet::default());
    outlet.choose(Mode::Objects);
    let call = site.make(Endpoint::Chat, &cold(), json!({ "timeouts": { "total": 50 } }));
    let error = site.client.stream(call, outlet.clone()).await.unwrap_err();
    assert!(matches!(error.kind, Kind::Timeout { .. }), "{error}");
    let waiting = outlet.take().unwrap().bytes;
    assert!(
        (64 * 1024..66 * 1024).contains(&waiting),
        "{waiting} bytes were pushed to a reader that reads nothing"
    );
    assert_eq!(site.stream_with(Mode::Text, &cold(), json!({})).await.text.len(), 200_000);
    site.quiet().await;
}

#[tokio::test]
async fn a_chat_and_its_stream_do_not_serve_each_other() {
    let site = site(json!({}));
    site.ask(&cold(), json!({})).await.unwrap();
    site.stream_with(Mode::Text, &cold(), json!({})).await.result.unwrap();
    assert_eq!(site.seen(), 2);
}

#[tokio::test]
async fn errors_and_truncated_answers_are_never_kept() {
    let site = site(json!({ "retry": false, "cache": { "when": "all" } }));
    let faults = [
        json!({ "kind": "status", "status": 500 }),
        json!({ "kind": "status", "status": 400 }),
        json!({ "kind": "reset" }),
        json!({ "kind": "cut", "afterTokens": 3 }),
        json!({ "kind": "cut", "afterTokens": 3, "clean": true }),
        json!({ "kind": "error-in-stream", "afterTokens": 3 }),
        json!({ "kind": "malformed", "atEvent": 3 }),
    ];
    for fault in faults {
        site.once(fault.clone());
        assert!(site.stream_with(Mode::Text, &cold(), json!({})).await.result.is_err(), "{fault}");
        assert_eq!(site.figure("entries"), 0, "{fault}");
    }
    for reason in ["length", "content_filter", "no_such_reason"] {
        site.says(json!({ "content": "half an", "finishReason": reason }));
        site.ask(&cold(), json!({})).await.unwrap();
        site.stream_with(Mode::Text, &cold(), json!({})).await.result.unwrap();
        assert_eq!(site.figure("entries"), 0, "{reason}");
        site.upstream.reset();
    }
    for _ in 0..2 {
        site.once(json!({ "kind": "status", "status": 500 }));
        assert!(site.ask(&cold(), json!({})).await.is_err());
    }
    assert_eq!(site.metrics()["requests"]["cached"], 0);
    site.quiet().await;
}

#[tokio::test]
async fn a_stream_that_was_mended_for_its_reader_is_not_kept() {
    let site = site(json!({ "retry": { "maxRetries": 1 } }));
    site.says(json!({ "content": "one two three four five six" }));
    let stall = json!({ "kind": "cut", "afterTokens": 4 });
    site.once(stall);
    let options = json!({ "recover": "restart" });
    let first = site.stream_with(Mode::Objects, &cold(), options.clone()).await;
    let restarts = first.chunks.iter().filter(|chunk| chunk.get("trunkline").is_some()).count();
    let meta = meta_of(&first.result.unwrap());
    assert_eq!(meta["attempts"].as_array().unwrap().len(), 2);
    // Where its beginning was seen it is mended; else nobody knows, and it is kept.
    assert_eq!(site.figure("entries"), u64::from(restarts == 0));
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_its_time_is_over() {
    let site = site(json!({ "cache": { "ttl": 1 } }));
    // Whatever is kept for a millisecond is gone at some time.
    let patient = async {
        while site.seen() < 3 {
            site.ask(&cold(), json!({})).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), patient).await.unwrap();
}

#[tokio::test]
async fn a_caller_says_by_the_names_of_the_rfc_what_it_takes() {
    let site = site(json!({}));
    let control = |text: &str| json!({ "cache": { "control": text } });
    let cached = async |options: Value| meta_of(&site.ask(&cold(), options).await.unwrap())["cached"].clone();
    let error = site.ask(&cold(), control("only-if-cached")).await.unwrap_err();
    assert_eq!((error.name_and_code().0, site.seen()), ("NotCachedError", 0));
    assert_eq!(cached(control("no-store")).await, false);
    assert_eq!(cached(json!({ "cache": false })).await, false);
    assert_eq!((site.figure("entries"), site.seen()), (0, 2));
    assert_eq!(cached(control("no-cache")).await, false);
    assert_eq!(cached(control("only-if-cached")).await, true);
    assert_eq!(cached(control("max-age=1000")).await, true);
    assert_eq!(cached(json!({ "cache": false })).await, false);
    assert_eq!(cached(control("min-fresh=100000")).await, false);
    assert_eq!(cached(control("no-cache")).await, false);
    assert_eq!(site.seen(), 6);
    let header = json!({ "headers": { "cache-control": "no-store" } });
    assert_eq!(cached(header.clone()).await, true, "the header is the provider's");
    let obeys = Site::with(Way::H1, json!({}), json!({ "cache": { "control": true } }));
    for _ in 0..2 {
        obeys.ask(&cold(), header.clone()).await.unwrap();
    }
    assert_eq!((obeys.seen(), obeys.figure("entries")), (2, 0));
    for request in obeys.upstream.requests() {
        let request = serde_json::to_value(&request).unwrap();
        assert!(request["headers"].get("cache-control").is_none(), "{request}");
    }
}

#[tokio::test]
async fn whoever_is_answered_from_memory_waits_for_no_limit_and_no_circuit() {
    let breaker = json!({ "failureThreshold": 1, "recoveryTimeout": 60_000 });
    let limits = json!({ "rateLimit": { "reservoir": { "amount": 2, "interval": 3_600_000 } }, "timeouts": { "queue": 50 } });
    let site = site(merge(limits, json!({ "circuitBreaker": breaker, "retry": false })));
    site.ask(&cold(), json!({})).await.unwrap();
    site.once(json!({ "kind": "status", "status": 500 }));
    assert!(site.ask(&with(json!({ "temperature": 0, "user": "u" })), json!({})).await.is_err());
    let refused = site.ask(&with(json!({ "temperature": 0, "user": "v" })), json!({})).await.unwrap_err();
    assert!(matches!(refused.kind, Kind::CircuitOpen { .. } | Kind::Timeout { .. }), "{refused}");
    for _ in 0..10 {
        assert_eq!(meta_of(&site.ask(&cold(), json!({})).await.unwrap())["cached"], true);
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_sent_counts_for_nothing() {
    let anthropic =
        json!({ "providers": { "a": { "baseURL": "http://127.0.0.1:1", "protocol": "anthropic" } } });
    let client = client_with(anthropic);
    let body = json!({ "model": "m", "temperature": 0, "messages": 7 }).to_string();
    let call =
        || Call { endpoint: Endpoint::Chat, body: body.clone(), options: client.call_options(None).unwrap() };
    let [one, two] = [client.call(call()), client.call(call())];
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one.unwrap_err().name_and_code().0, "ConfigError");
    assert_eq!(two.unwrap_err().name_and_code().0, "ConfigError");
    let metrics = serde_json::to_value(client.metrics()).unwrap();
    assert_eq!((&metrics["requests"]["started"], &metrics["requests"]["failed"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn there_are_never_more_bytes_than_may_be() {
    let site = site(json!({ "cache": { "maxBytes": 20_000 } }));
    for n in 0..50 {
        site.ask(&with(json!({ "temperature": 0, "user": n.to_string() })), json!({})).await.unwrap();
        assert!(site.figure("bytes") <= 20_000);
    }
    let [entries, evicted] = [site.figure("entries"), site.figure("evicted")];
    assert!(entries > 3 && entries + evicted == 50, "{entries} {evicted}");
    site.says(json!({ "content": "x".repeat(5_000) }));
    for _ in 0..2 {
        let large = site.ask(&with(json!({ "seed": 1 })), json!({})).await.unwrap();
        assert_eq!(meta_of(&large)["cached"], false, "too large a part of it all");
    }
}

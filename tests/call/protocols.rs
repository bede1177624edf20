//! The same client against the same upstream in the three protocols: the same results, and the same classes of errors.

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Answer, Endpoint, Mode};
use trunkline::error::{Error, Kind};

const PROTOCOLS: [&str; 3] = ["openai", "anthropic", "gemini"];
const TRANSLATED: [&str; 2] = ["anthropic", "gemini"];
const BOTH: [Way; 2] = [Way::H1, Way::H2];

fn site(way: Way, protocol: &str, upstream: Value) -> Site {
    Site::with(way, upstream, json!({ "protocol": protocol, "retry": { "maxRetries": 0 } }))
}

fn weather() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    json!([{ "type": "function", "function": { "name": "weather", "parameters": parameters } }])
}

/// What a completion says, without what each provider says in its own way.
fn told(completion: &Value) -> Value {
    let choice = &completion["choices"][0];
    let usage = &completion["usage"];
    json!([
        choice["message"]["content"],
        choice["message"]["tool_calls"],
        choice["finish_reason"],
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"],
    ])
}

async fn chat(site: &Site, body: &Value) -> Result<Answer, Error> {
    site.client.call(site.make(Endpoint::Chat, body, json!({}))).await
}

/// The class of an error, and the provider that it names.
fn class(result: Result<Answer, Error>) -> &'static str {
    let error = result.unwrap_err();
    assert_eq!(error.provider.as_deref(), Some("default"), "{error:?}");
    error.name_and_code().0
}

#[tokio::test]
async fn chats_streams_tools_and_usage_are_the_same_from_all() {
    for way in BOTH {
        let mut first: Option<[Value; 6]> = None;
        for protocol in PROTOCOLS {
            let site = site(way, protocol, json!({}));
            let plain = chat(&site, &request()).await.unwrap();
            assert_eq!(meta_of(&plain)["usage"], body_of(&plain)["usage"], "{protocol}");
            let streamed = site.stream(Mode::Objects).await;
            let text = site.stream(Mode::Text).await.text;
            let gathered = body_of(&streamed.result.unwrap());
            assert_eq!(streamed.text, said(&gathered), "{protocol} {way:?}");
            assert!(streamed.chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));

            let call =
                json!({ "id": "c1", "function": { "name": "weather", "arguments": "{\"city\":\"Bern\"}" } });
            let other = json!({ "id": "c2", "function": { "name": "weather", "arguments": "{}" } });
            site.says(json!({
                "content": "I look.", "toolCalls": [call, other],
                "usage": { "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42 },
            }));
            let with_tools = with(json!({ "tools": weather(), "tool_choice": "required" }));
            let called = body_of(&chat(&site, &with_tools).await.unwrap());
            let calls = called["choices"][0]["message"]["tool_calls"].clone();
            let called_in_pieces = site.stream_with(Mode::Objects, &with_tools, json!({})).await.result;

            // The answer goes back as it came, with the results after it.
            let mut next = with(json!({ "tools": weather() }));
            let list = next["messages"].as_array_mut().unwrap();
            list.push(called["choices"][0]["message"].clone());
            for (id, result) in [("c1", "sunny"), ("c2", "{\"sky\":\"grey\"}")] {
                list.push(json!({ "role": "tool", "tool_call_id": id, "content": result }));
            }
            site.upstream.reset();
            let answered = body_of(&chat(&site, &next).await.unwrap());
            assert_eq!(calls.as_array().unwrap().len(), 2);
            let all = [
                told(&body_of(&plain)),
                told(&gathered),
                text.into(),
                told(&called),
                told(&body_of(&called_in_pieces.unwrap())),
                answered["choices"][0]["finish_reason"].clone(),
            ];
            assert_eq!(&all, first.get_or_insert(all.clone()), "{protocol} {way:?}");
            assert_eq!(all[0], all[1], "{protocol}: whole and gathered");
            assert_eq!(all[3], all[4], "{protocol}: calls whole and gathered");
        }
    }
}

#[tokio::test]
async fn embeddings_are_the_same_from_all_that_have_them() {
    for way in BOTH {
        let mut first = None;
        for protocol in ["openai", "gemini"] {
            let site = site(way, protocol, json!({}));
            let inputs: Vec<_> = (0..150).map(|at| format!("text {at}")).collect();
            let answer = body_of(&site.embed(json!(inputs)).await.unwrap());
            let data = answer["data"].as_array().unwrap();
            assert_eq!(data.len(), 150);
            assert!(data.iter().enumerate().all(|(at, item)| item["index"] == at), "{protocol}");
            let vectors: Vec<_> = data.iter().map(|item| item["embedding"].clone()).collect();
            assert_eq!(&vectors, first.get_or_insert(vectors.clone()), "{protocol} {way:?}");
        }
        let site = site(way, "anthropic", json!({}));
        let error = site.embed(json!("a")).await.unwrap_err();
        assert!(
            matches!(error.kind, Kind::Config) && error.message.contains("no embeddings"),
            "{}",
            error.message
        );
        assert_eq!((error.provider.as_deref(), site.seen()), (Some("default"), 0));
    }
}

#[tokio::test]
async fn errors_have_the_same_class_from_all() {
    for way in BOTH {
        for protocol in PROTOCOLS {
            let site = site(way, protocol, json!({}));
            for (status, name) in [
                (400, "BadRequestError"),
                (401, "AuthenticationError"),
                (403, "PermissionDeniedError"),
                (404, "NotFoundError"),
                (429, "RateLimitError"),
                (500, "InternalServerError"),
                (503, "InternalServerError"),
                (529, "InternalServerError"),
            ] {
                let fault = json!({ "kind": "status", "status": status });
                site.fault(fault, json!({ "times": 2 }));
                assert_eq!(class(chat(&site, &request()).await), name, "{protocol} {status} {way:?}");
                assert_eq!(
                    class(site.stream(Mode::Objects).await.result),
                    name,
                    "{protocol} {status} {way:?}"
                );
                chat(&site, &request()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_key_a_long_prompt_and_a_limit_are_known_from_all() {
    for way in BOTH {
        for protocol in PROTOCOLS {
            let stranger = site(way, protocol, json!({ "keys": { "another": {} } }));
            assert_eq!(class(chat(&stranger, &request()).await), "AuthenticationError", "{protocol}");

            let brief = site(way, protocol, json!({ "models": { "m": { "maxInputTokens": 10 } } }));
            let long =
                json!({ "model": "m", "messages": [{ "role": "user", "content": "word ".repeat(100) }] });
            assert_eq!(class(chat(&brief, &long).await), "ContextLengthError", "{protocol}");
            chat(&brief, &request()).await.unwrap();

            // OpenAI and Anthropic say it in a header, Gemini in the body alone.
            let busy = site(way, protocol, json!({}));
            let info = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s" });
            let google = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x", "details": [info] } });
            let limited = match protocol {
                "gemini" => json!({ "kind": "status", "status": 429, "body": google }),
                _ => json!({ "kind": "status", "status": 429, "headers": { "retry-after": "7.5" } }),
            };
            busy.once(limited);
            let error = chat(&busy, &request()).await.unwrap_err();
            let Kind::Api(api) = &error.kind else { panic!("{protocol} {error:?}") };
            assert_eq!((error.name_and_code().0, api.status), ("RateLimitError", 429), "{protocol}");
            assert_eq!(api.retry_after_ms, Some(7_500), "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_filter_a_quota_and_an_overload_are_known_by_each_ones_own_words() {
    let anthropic =
        |kind: &str, message: &str| json!({ "type": "error", "error": { "type": kind, "message": message } });
    let gemini = |code: u16, status: &str, message: &str| json!({ "error": { "code": code, "status": status, "message": message } });
    for (protocol, status, body, name) in [
        (
            "openai",
            400,
            json!({ "error": { "code": "content_filter", "message": "x" } }),
            "ContentFilterError",
        ),
        (
            "anthropic",
            400,
            anthropic("invalid_request_error", "Output blocked by content filtering policy"),
            "ContentFilterError",
        ),
        (
            "gemini",
            400,
            gemini(400, "INVALID_ARGUMENT", "violates the Responsible AI practices"),
            "ContentFilterError",
        ),
        (
            "openai",
            429,
            json!({ "error": { "type": "insufficient_quota", "message": "x" } }),
            "RateLimitError",
        ),
        (
            "anthropic",
            400,
            anthropic("invalid_request_error", "Your credit balance is too low to access the API."),
            "RateLimitError",
        ),
        ("gemini", 429, gemini(429, "RESOURCE_EXHAUSTED", "Your credits are depleted."), "RateLimitError"),
        ("anthropic", 529, anthropic("overloaded_error", "Overloaded"), "InternalServerError"),
        ("gemini", 503, gemini(503, "UNAVAILABLE", "The model is overloaded."), "InternalServerError"),
        (
            "gemini",
            400,
            gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
            "AuthenticationError",
        ),
    ] {
        let site = site(Way::H1, protocol, json!({}));
        site.once(json!({ "kind": "status", "status": status, "body": body }));
        let result = chat(&site, &request()).await;
        let retryable = result.as_ref().unwrap_err().retryable;
        assert_eq!(class(result), name, "{protocol} {body}");
        assert_eq!(retryable, name == "InternalServerError", "{protocol} {body}");
        chat(&site, &request()).await.unwrap();
    }
}

#[tokio::test]
async fn an_error_within_a_stream_is_the_same_from_all() {
    for way in BOTH {
        for (error, at) in [
            (json!({ "code": 503, "type": "server_error", "message": "x" }), 0),
            (json!({ "code": 429, "type": "rate_limit_error", "message": "x" }), 0),
            (json!({ "code": 503, "type": "server_error", "message": "x" }), 3),
        ] {
            let mut first = None;
            for protocol in PROTOCOLS {
                let site = site(way, protocol, json!({}));
                site.once(
                    json!({ "kind": "error-in-stream", "afterTokens": at, "body": { "error": error } }),
                );
                let options = json!({ "recover": "none" });
                let streamed = site.stream_with(Mode::Objects, &request(), options).await;
                let text = match &streamed.result {
                    Err(error) => match &error.kind {
                        Kind::StreamInterrupted { partial, .. } => {
                            said(&serde_json::from_str(partial).unwrap()).to_owned()
                        }
                        _ => String::new(),
                    },
                    Ok(_) => panic!("{protocol}: an answer"),
                };
                let end = (class(streamed.result), text);
                assert_eq!(&end, first.get_or_insert(end.clone()), "{protocol} {error} {way:?}");
                chat(&site, &request()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn an_error_within_a_stream_of_geminis_is_read_once_and_keeps_what_google_asks_for() {
    let info = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s" });
    let daily = json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{ "quotaId": "GenerateRequestsPerDayPerProjectPerModel" }],
    });
    for (details, wait, retryable) in [(json!([info]), Some(7_500), true), (json!([daily]), None, false)] {
        let site = site(Way::H1, "gemini", json!({}));
        let error =
            json!({ "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x", "details": details });
        site.once(json!({ "kind": "error-in-stream", "afterTokens": 0, "body": { "error": error } }));
        let error = site.stream(Mode::Objects).await.result.unwrap_err();
        let Kind::Api(api) = &error.kind else { panic!("{error:?}") };
        assert_eq!((error.name_and_code().0, api.status, api.retry_after_ms), ("RateLimitError", 429, wait));
        assert_eq!(error.retryable, retryable);
    }
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_with_its_place_before_anything_is_sent() {
    for protocol in TRANSLATED {
        let site = site(Way::H1, protocol, json!({}));
        let part = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
        let image = |url: &str| part(json!({ "type": "image_url", "image_url": { "url": url } }));
        for (more, place) in [
            (
                json!({ "tools": [{ "type": "function", "function": {} }] }),
                "request.tools[0].function.name: ",
            ),
            (image("a picture"), "request.messages[0].content[0].image_url.url: "),
            (image("data:image/png;base64,@"), "request.messages[0].content[0].image_url.url: "),
            (part(json!({ "type": "smell" })), "request.messages[0].content[0].type: "),
            (json!({ "messages": [{ "role": "critic", "content": "x" }] }), "request.messages[0].role: "),
            (json!({ "n": 100 }), "request.n: "),
            (json!({ "messages": 7 }), "request.messages: "),
        ] {
            let body = merge(request(), more);
            for result in
                [chat(&site, &body).await, site.stream_with(Mode::Objects, &body, json!({})).await.result]
            {
                let error = result.unwrap_err();
                assert!(matches!(error.kind, Kind::Config), "{protocol} {error:?}");
                assert!(error.message.starts_with(place), "{protocol}: {} at {place}", error.message);
                assert_eq!(error.provider.as_deref(), Some("default"), "{protocol} {place}");
            }
            assert_eq!(site.seen(), 0);
        }
        site.works().await;
    }
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!("x"), |inner, _| json!({ "type": "object", "properties": { "a": inner } }))
}

#[tokio::test]
async fn json_of_two_hundred_levels_is_carried_or_refused_and_the_next_call_works() {
    for protocol in PROTOCOLS {
        let site = site(Way::H1, protocol, json!({}));
        // Of two levels each.
        let tool = json!({ "type": "function", "function": { "name": "deep", "parameters": deep(100) } });
        let body = with(json!({ "tools": [tool] }));
        let result = chat(&site, &body).await;
        assert_eq!(site.seen(), 1, "{protocol}: it is sent");
        // OpenAI's is not read by anybody on the way; the upstream's strict readers take 128 levels.
        let words = if protocol == "openai" { "ok after yes" } else { "BadRequest 400, billed no, after no" };
        assert_eq!(tell(&result), words, "{protocol}");

        let arguments = deep(100).to_string();
        let answer = match protocol {
            "openai" => json!({
                "id": "x", "model": "m",
                "choices": [{ "index": 0, "message": { "content": "a", "deep": deep(100) }, "finish_reason": "stop" }],
            }),
            "anthropic" => json!({
                "type": "message", "role": "assistant", "id": "x", "model": "m", "stop_reason": "tool_use",
                "content": [{ "type": "tool_use", "id": "a", "name": "deep", "input": deep(100) }],
            }),
            _ => json!({ "candidates": [{
                "content": { "parts": [{ "functionCall": { "name": "deep", "args": deep(100) } }] },
                "finishReason": "STOP",
            }] }),
        };
        site.says(json!({ "raw": { "body": answer.to_string(), "contentType": "application/json" } }));
        let result = chat(&site, &request()).await.unwrap();
        let text = String::from_utf8(result.body.to_vec()).unwrap();
        let quoted = serde_json::to_string(&arguments).unwrap();
        assert!(text.contains(&arguments) || text.contains(&quoted), "{protocol}");
        site.upstream.reset();
        site.works().await;
    }
}

#[tokio::test]
async fn an_answer_of_the_wrong_shape_is_none_and_the_next_call_works() {
    for protocol in TRANSLATED {
        let site = site(Way::H1, protocol, json!({}));
        for body in [
            json!([]),
            json!("x"),
            json!(null),
            json!({}),
            json!({ "content": "x", "stop_reason": "end_turn", "candidates": "x" }),
            json!({ "content": [7], "stop_reason": "end_turn", "candidates": [7] }),
            json!({ "content": [{}], "stop_reason": "end_turn", "candidates": [{ "finishReason": 7 }] }),
            json!({
                "content": [{ "type": "tool_use", "id": "a", "name": "b", "input": "c" }], "stop_reason": "tool_use",
                "candidates": [{ "content": { "parts": [{ "functionCall": { "args": {} } }] }, "finishReason": "STOP" }],
            }),
            json!({ "content": [], "stop_reason": null, "candidates": [{ "content": { "parts": 7 } }] }),
        ] {
            site.says(json!({ "raw": { "body": body.to_string(), "contentType": "application/json" } }));
            let result = chat(&site, &request()).await;
            let words = tell(&result);
            assert!(words.starts_with("InvalidResponse, billed maybe"), "{protocol} {body}: {words}");
            assert_eq!(class(result), "InvalidResponseError");
            site.upstream.reset();
            chat(&site, &request()).await.unwrap();
        }
    }
}

/// A stream of these events in Anthropic's framing, which is good for all.
fn events(list: &[Value]) -> String {
    list.iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("x")))
        .collect()
}

#[tokio::test]
async fn events_out_of_their_order_are_no_answer_and_the_next_call_works() {
    let start = json!({ "type": "message_start", "message": { "id": "a", "model": "m", "usage": { "input_tokens": 1 } } });
    let open =
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    let delta =
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "x" } });
    let stop = json!({ "type": "content_block_stop", "index": 0 });
    let site = site(Way::H1, "anthropic", json!({}));
    for list in [
        vec![delta.clone()],
        vec![start.clone(), delta.clone()],
        vec![start.clone(), start.clone()],
        vec![start.clone(), stop.clone()],
        vec![start.clone(), open.clone(), open.clone()],
        vec![
            start.clone(),
            open.clone(),
            json!({ "type": "content_block_delta", "index": 1, "delta": delta["delta"] }),
        ],
        vec![start.clone(), open.clone(), json!({ "type": "content_block_delta", "index": 0 })],
        vec![start.clone(), json!({ "type": "content_block_start", "index": 0 })],
        vec![json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } })],
    ] {
        let body = events(&list);
        site.streams(&body);
        let result = site.stream(Mode::Objects).await.result;
        // What came after it is unknown, as after a cut.
        assert_eq!(tell(&result), "Connection receive retryable, billed maybe, after maybe", "{body}");
        site.upstream.reset();
        chat(&site, &request()).await.unwrap();
    }
}

#[tokio::test]
async fn two_ends_of_a_stream_are_one() {
    let chunk = |delta: Value, end: Value| json!({ "id": "x", "choices": [{ "index": 0, "delta": delta, "finish_reason": end }] });
    let (hi, end) = (chunk(json!({ "content": "hi" }), Value::Null), chunk(json!({}), json!("stop")));
    let openai = format!("data: {hi}\n\ndata: {end}\n\ndata: [DONE]\n\ndata: [DONE]\n\ndata: {hi}\n\n");
    let stop = json!({ "type": "message_stop" });
    let anthropic = events(&[
        json!({ "type": "message_start", "message": { "id": "a", "model": "m" } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "hi" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } }),
        stop.clone(),
        stop,
    ]);
    for (protocol, body) in [("openai", openai), ("anthropic", anthropic)] {
        let site = site(Way::H1, protocol, json!({}));
        for _ in 0..3 {
            site.streams(&body);
            let streamed = site.stream(Mode::Objects).await;
            assert_eq!(said(&body_of(&streamed.result.unwrap())), "hi", "{protocol}");
            assert_eq!(streamed.text, "hi");
        }
        site.upstream.reset();
        site.works().await;
    }
}

#[tokio::test]
async fn an_answer_of_one_provider_goes_on_with_any_other() {
    let (upstream, tasks) =
        (start(json!({})), trunkline::pool::Tasks::new(tokio::runtime::Handle::current()));
    let provider = |protocol: &str| json!({ "baseURL": format!("{}/v1", upstream.url()), "apiKey": KEY, "protocol": protocol });
    let options = json!({
        "providers": { "openai": provider("openai"), "anthropic": provider("anthropic"), "gemini": provider("gemini") },
        "retry": { "maxRetries": 0 }, "circuitBreaker": false, "pool": { "idleTimeout": alone() },
    });
    let client = std::sync::Arc::new(
        trunkline::client::Client::new(
            options,
            &trunkline::config::Environment::default(),
            &tasks,
            Box::new(|_| {}),
            Box::new(|| {}),
        )
        .unwrap(),
    );
    let call = |protocol: &str, body: &Value| trunkline::client::Call {
        endpoint: Endpoint::Chat,
        body: body.to_string(),
        options: client.call_options(Some(json!({ "provider": protocol }))).unwrap(),
    };
    let answers = [
        (
            "openai",
            json!({ "id": "x", "model": "m", "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "I look.", "refusal": null, "annotations": [],
            "tool_calls": [{ "id": "call_1", "type": "function", "function": { "name": "weather", "arguments": "{}" } }],
        } }] }),
        ),
        (
            "anthropic",
            json!({ "type": "message", "id": "x", "model": "m", "stop_reason": "tool_use", "content": [
            { "type": "thinking", "thinking": "Hm.", "signature": "c2ln" },
            { "type": "text", "text": "I look.", "citations": [{ "type": "char_location", "cited_text": "x" }] },
            { "type": "tool_use", "id": "toolu_01", "name": "weather", "input": {} },
        ] }),
        ),
        (
            "gemini",
            json!({ "candidates": [{ "finishReason": "STOP", "content": { "role": "model", "parts": [
            { "text": "Hm.", "thought": true }, { "text": "I look." },
            { "functionCall": { "name": "weather", "args": {} }, "thoughtSignature": "c2ln" },
        ] }, "groundingMetadata": { "webSearchQueries": ["x"] } }] }),
        ),
    ];
    for (from, answer) in answers {
        let raw = json!({ "raw": { "body": answer.to_string(), "contentType": "application/json" } });
        upstream.reply(
            trunkline::mock::Matcher::Fields(serde_json::Map::new()),
            serde_json::from_value(raw).unwrap(),
        );
        let message =
            body_of(&client.call(call(from, &request())).await.unwrap())["choices"][0]["message"].clone();
        upstream.reset();
        let id = message["tool_calls"][0]["id"].clone();
        assert!(id.as_str().unwrap().len() <= 40, "OpenAI takes no longer ids: {id}");
        let mut body = with(json!({ "tools": weather() }));
        let list = body["messages"].as_array_mut().unwrap();
        list.extend([message, json!({ "role": "tool", "tool_call_id": id, "content": "sunny" })]);
        for to in PROTOCOLS {
            let answer = client
                .call(call(to, &body))
                .await
                .unwrap_or_else(|error| panic!("{from} to {to}: {error:?}"));
            let sent = upstream.requests().pop().unwrap();
            let seen = trunkline::mock::as_openai(&sent.path, &sent.body);
            assert_eq!(seen["messages"][1]["tool_calls"][0]["id"], id, "{from} to {to}");
            assert_eq!(seen["messages"][2]["tool_call_id"], id, "{from} to {to}");
            assert_eq!(seen["messages"][1]["content"], "I look.", "{from} to {to}");
            let dropped = meta_of(&answer)["dropped"].as_array().map_or(0, Vec::len);
            let foreign = ["thinking_blocks", "citations", "extra_content", "thoughtSignature", "signature"];
            let kept: Vec<_> = foreign
                .into_iter()
                .filter(|name| sent.body.to_string().contains(&format!("\"{name}\"")))
                .collect();
            if from == to {
                // But for what no provider takes back: citations, sources.
                assert_eq!(kept.is_empty(), from == "openai", "{from} wants it back: {}", sent.body);
            } else {
                assert!(kept.is_empty(), "{from} to {to} has {kept:?}");
                assert_eq!(dropped > 0, from != "openai", "{from} to {to} tells of {dropped}");
            }
        }
    }
}

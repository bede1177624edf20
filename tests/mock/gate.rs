//! What the stand-in turns away: keys, rates, lengths, and the beginnings of answers.

use serde_json::{Value, json};
use trunkline::mock::{MockOptions, MockUpstream};

use super::{
    anthropic::message,
    client::{Client, Protocol, chat, read, start},
    gemini::{WHOLE, contents},
};

/// A path, the fields with the key, and a body.
type Asked = (&'static str, Vec<(&'static str, String)>, Value);

/// The same chat in each protocol.
fn protocols(key: &str) -> [Asked; 3] {
    let version = ("anthropic-version", "2023-06-01".to_owned());
    [
        ("/v1/chat/completions", vec![("authorization", format!("Bearer {key}"))], chat("12345678")),
        ("/v1/messages", vec![("x-api-key", key.to_owned()), version], message("12345678")),
        (WHOLE, vec![("x-goog-api-key", key.to_owned())], contents("12345678")),
    ]
}

async fn send(upstream: &MockUpstream, path: &str, headers: &[(&str, String)], body: &Value) -> (u16, Value) {
    let mut client = Client::connect(upstream, Protocol::H2).await;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let response = client.send_with("POST", path, &headers, body.to_string()).await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&read(response).await.text).unwrap())
}

#[tokio::test]
async fn each_key_has_its_own_limit_and_others_are_refused() {
    let keys = json!({
        "good": {}, "slow": { "rateLimit": { "requestsPerSecond": 0.01, "burst": 1 } }, "old": { "revoked": true },
    });
    let upstream = start(json!({ "keys": keys }));
    for at in 0..3 {
        // New buckets: a key's belongs to it in every protocol.
        let own = start(json!({ "keys": keys }));
        for (key, expected) in
            [("good", [200, 200]), ("slow", [200, 429]), ("old", [401, 401]), ("who", [401, 401])]
        {
            let (path, headers, body) = &protocols(key)[at];
            for status in expected {
                // A wrong key is a wrong argument to Gemini.
                let status = if at == 2 && status == 401 { 400 } else { status };
                let (got, body) = send(&own, path, headers, body).await;
                assert_eq!(got, status, "{key} {path}: {body}");
                if status == 400 {
                    assert_eq!(body["error"]["details"][0]["reason"], "API_KEY_INVALID");
                }
            }
        }
    }
    let (status, _) = send(&upstream, "/v1/chat/completions", &[], &chat("x")).await;
    assert_eq!(status, 401);
    let azure = "/openai/deployments/d/chat/completions?api-version=2024-10-21";
    let (status, body) =
        send(&upstream, azure, &[("api-key", "good".to_owned())], &json!({ "messages": [] })).await;
    assert_eq!((status, &body["model"]), (200, &json!("d")));
}

#[tokio::test]
async fn a_limited_request_is_told_when_to_come_back_in_the_words_of_its_protocol() {
    let limit = json!({ "requestsPerSecond": 0.5, "burst": 1, "tokensPerMinute": 100_000 });
    for (path, headers, body) in protocols("k") {
        let upstream = start(json!({ "rateLimit": limit }));
        let mut client = Client::connect(&upstream, Protocol::H1).await;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let first = client.send_with("POST", path, &headers, body.to_string()).await.unwrap();
        let told: Vec<_> = first.headers().keys().map(ToString::to_string).collect();
        assert_eq!(first.status(), 200);
        read(first).await;
        let second = client.send_with("POST", path, &headers, body.to_string()).await.unwrap();
        assert_eq!(second.status(), 429);
        let after = second.headers().get("retry-after").map(|after| after.to_str().unwrap().to_owned());
        let body: Value = serde_json::from_str(&read(second).await.text).unwrap();
        if path == "/v1/messages" {
            assert!(told.contains(&"anthropic-ratelimit-requests-remaining".to_owned()), "{told:?}");
            assert!(told.contains(&"anthropic-ratelimit-tokens-reset".to_owned()));
            assert_eq!((after.as_deref(), &body["error"]["type"]), (Some("2"), &json!("rate_limit_error")));
        } else if path == WHOLE {
            assert!(after.is_none() && !told.iter().any(|name| name.contains("ratelimit")));
            let delay = body["error"]["details"][1]["retryDelay"].as_str().unwrap();
            assert!(delay.strip_suffix('s').unwrap().parse::<f64>().unwrap() > 0.0, "{delay}");
        } else {
            assert_eq!(
                (after.as_deref(), &body["error"]["code"]),
                (Some("2"), &json!("rate_limit_exceeded"))
            );
        }
    }
}

#[tokio::test]
async fn a_fault_is_met_by_its_key_alone_in_any_protocol() {
    for at in 0..3 {
        let upstream = start(json!({}));
        let scope = json!({ "key": "a", "times": 2, "model": "m" });
        let fault = json!({ "kind": "status", "status": 500 });
        upstream.fault(serde_json::from_value(fault).unwrap(), serde_json::from_value(scope).unwrap());
        let mut seen = Vec::new();
        for key in ["b", "a", "b", "a", "a"] {
            let (path, headers, body) = &protocols(key)[at];
            seen.push(send(&upstream, path, headers, body).await.0);
        }
        assert_eq!(seen, [200, 500, 200, 500, 200]);
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_for_its_model_is_refused_as_the_provider_does() {
    let upstream =
        start(json!({ "models": { "m": { "maxInputTokens": 1 }, "large": { "maxInputTokens": 2 } } }));
    let words = [
        "This model's maximum context length is 1 tokens. However, your messages resulted in 2 tokens.",
        "prompt is too long: 2 tokens > 1 maximum",
        "The input token count (2) exceeds the maximum number of tokens allowed (1).",
    ];
    for ((path, headers, mut body), words) in protocols("k").into_iter().zip(words) {
        let (status, got) = send(&upstream, path, &headers, &body).await;
        assert_eq!(status, 400);
        assert!(got["error"]["message"].as_str().unwrap().contains(words), "{got}");
        let large = path.replace("/m:", "/large:");
        if large == path {
            body["model"] = "large".into();
        }
        assert_eq!(send(&upstream, &large, &headers, &body).await.0, 200);
    }
    let (_, got) = send(&upstream, "/chat/completions", &[], &chat("12345678")).await;
    assert_eq!(got["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn the_beginning_of_an_answer_is_refused_where_models_do_not_go_on_with_it() {
    let options =
        [(json!({ "prefill": false }), 400), (json!({ "models": { "m": { "prefill": false } } }), 400)];
    let taken = [
        (json!({}), 200),
        (json!({ "prefill": false, "models": { "m": { "prefill": true } } }), 200),
        (json!({ "models": { "other": { "prefill": false } } }), 200),
    ];
    for (options, expected) in options.into_iter().chain(taken) {
        let upstream = start(options);
        for (path, headers, mut body) in protocols("k") {
            assert_eq!(send(&upstream, path, &headers, &body).await.0, 200);
            let (list, turn) = match path {
                WHOLE => ("contents", json!({ "role": "model", "parts": [{ "text": "It is" }] })),
                _ => ("messages", json!({ "role": "assistant", "content": "It is" })),
            };
            body[list].as_array_mut().unwrap().push(turn);
            let (status, got) = send(&upstream, path, &headers, &body).await;
            assert_eq!(status, expected, "{path}: {got}");
            if status == 400 {
                assert!(got["error"]["message"].as_str().unwrap().contains("end with a user"), "{got}");
            }
        }
    }
}

#[test]
fn wrong_keys_and_models_are_refused_by_name_and_a_key_is_never_said() {
    let refused = |options: Value| serde_json::from_value::<MockOptions>(options).unwrap_err().to_string();
    assert!(refused(json!({ "keys": { "k": { "limit": 1 } } })).contains("limit"));
    assert!(refused(json!({ "models": { "m": { "context": 1 } } })).contains("context"));
    let options = json!({ "keys": { "secret": { "rateLimit": { "burst": -1 } } } });
    let error = MockUpstream::start(serde_json::from_value(options).unwrap()).unwrap_err().to_string();
    assert!(
        error.starts_with("keys[0].rateLimit.burst: must be above 0") && !error.contains("secret"),
        "{error}"
    );
}

//! The stand-in as Anthropic: what it takes, what it refuses, and what it answers.

use serde_json::{Value, json};
use trunkline::mock::MockUpstream;

use super::{
    answer,
    client::{BOTH, Body, Client, Protocol, chat, fault, read, start},
    fields,
};

pub(crate) const HEADERS: [(&str, &str); 2] = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")];

pub(crate) fn message(text: &str) -> Value {
    json!({ "model": "m", "max_tokens": 100, "messages": [{ "role": "user", "content": text }] })
}

fn streamed(text: &str) -> Value {
    let mut body = message(text);
    body["stream"] = true.into();
    body
}

pub(crate) async fn send(upstream: &MockUpstream, body: &Value) -> (u16, Body) {
    let mut client = Client::connect(upstream, Protocol::H1).await;
    let response = client.send_with("POST", "/v1/messages", &HEADERS, body.to_string()).await.unwrap();
    (response.status().as_u16(), read(response).await)
}

async fn json_of(upstream: &MockUpstream, body: &Value) -> Value {
    serde_json::from_str(&send(upstream, body).await.1.text).unwrap()
}

fn names(body: &Body) -> Vec<&str> {
    body.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect()
}

/// The text, or the JSON of the tools, that a stream's deltas carry.
fn deltas(body: &Body, name: &str) -> String {
    body.data()
        .iter()
        .filter_map(|data| data.pointer(&format!("/delta/{name}"))?.as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_message_says_what_a_chat_says() {
    let upstream = start(json!({}));
    for protocol in BOTH {
        let mut client = Client::connect(&upstream, protocol).await;
        let said = client.json(&chat("12345678")).await;
        for path in ["/v1/messages", "/messages?beta=true"] {
            let body = message("12345678").to_string();
            let response = client.send_with("POST", path, &HEADERS, body).await.unwrap();
            assert!(response.headers()["request-id"].to_str().unwrap().starts_with("req_"));
            assert!(!response.headers().contains_key("x-request-id"));
            let body: Value = serde_json::from_str(&read(response).await.text).unwrap();
            assert_eq!(
                (&body["type"], &body["role"], &body["model"]),
                (&json!("message"), &json!("assistant"), &json!("m"))
            );
            let block = json!([{ "type": "text", "text": said["choices"][0]["message"]["content"] }]);
            assert_eq!(body["content"], block);
            assert_eq!((&body["stop_reason"], &body["stop_sequence"]), (&json!("end_turn"), &Value::Null));
            assert_eq!(body["usage"]["input_tokens"], 2);
            assert_eq!(body["usage"]["output_tokens"], said["usage"]["completion_tokens"]);
        }
    }
}

#[tokio::test]
async fn a_stream_goes_from_message_start_to_message_stop_with_usage_that_adds_up() {
    let upstream = start(json!({}));
    let whole = json_of(&upstream, &message("x")).await;
    let (status, body) = send(&upstream, &streamed("x")).await;
    assert_eq!(status, 200);
    let names = names(&body);
    assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let data = body.data();
    assert!(names.iter().zip(&data).all(|(name, data)| data["type"] == *name));
    assert_eq!(deltas(&body, "text"), whole["content"][0]["text"]);
    let begun = &data[0]["message"];
    assert_eq!((&begun["content"], &begun["stop_reason"]), (&json!([]), &Value::Null));
    assert_eq!((&begun["usage"]["input_tokens"], &begun["usage"]["output_tokens"]), (&json!(1), &json!(1)));
    let ended = &data[data.len() - 2];
    assert_eq!(ended["delta"], json!({ "stop_reason": "end_turn", "stop_sequence": null }));
    assert_eq!(ended["usage"], whole["usage"]);
    assert!(!body.text.contains("[DONE]"));
}

#[tokio::test]
async fn tools_usage_and_finish_reasons_are_said_in_its_own_words() {
    let upstream = start(json!({}));
    let call = |id: &str, arguments: &str| json!({ "id": id, "function": { "name": "look", "arguments": arguments } });
    upstream.reply(
        fields(json!({})),
        answer(json!({
            "content": "Let me see.", "toolCalls": [call("a", "{\"b\":1.50,\"a\":[]}"), call("b", "{}")],
            "usage": {
                "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                "prompt_tokens_details": { "cached_tokens": 60 }, "completion_tokens_details": { "reasoning_tokens": 5 },
            },
        })),
    );
    let (_, body) = send(&upstream, &message("x")).await;
    assert!(body.text.contains(r#""input":{"b":1.50,"a":[]}"#), "numbers and order are as they were given");
    let whole: Value = serde_json::from_str(&body.text).unwrap();
    assert_eq!(whole["content"][1]["id"], "a");
    assert_eq!(whole["content"][2], json!({ "type": "tool_use", "id": "b", "name": "look", "input": {} }));
    assert_eq!(whole["stop_reason"], "tool_use");
    let usage = &whole["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(40), &json!(60)));
    assert_eq!(
        (&usage["output_tokens"], &usage["output_tokens_details"]["thinking_tokens"]),
        (&json!(20), &json!(5))
    );

    let (_, body) = send(&upstream, &streamed("x")).await;
    assert_eq!(deltas(&body, "partial_json"), "{\"b\":1.50,\"a\":[]}{}");
    let starts: Vec<_> =
        body.data().into_iter().filter(|data| data["type"] == "content_block_start").collect();
    assert_eq!(starts.iter().map(|start| start["index"].clone()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(starts[1]["content_block"]["input"], json!({}));

    for (given, said) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("pause_turn", "pause_turn"),
    ] {
        upstream.reply(fields(json!({})), answer(json!({ "content": "x", "finishReason": given })));
        assert_eq!(json_of(&upstream, &message("x")).await["stop_reason"], said);
    }
    let own = json!({ "input_tokens": 1, "output_tokens": 2, "mine": true });
    upstream.reply(fields(json!({})), answer(json!({ "content": "x", "usage": own })));
    assert_eq!(json_of(&upstream, &message("x")).await["usage"], own);
}

#[tokio::test]
async fn a_key_and_a_version_are_required_and_errors_have_its_shape() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    for (headers, status, kind, message) in [
        (&HEADERS[1..], 401, "authentication_error", "x-api-key header is required"),
        (&HEADERS[..1], 400, "invalid_request_error", "anthropic-version: header is required"),
    ] {
        let body = self::message("x").to_string();
        let response = client.send_with("POST", "/v1/messages", headers, body).await.unwrap();
        assert_eq!(response.status(), status);
        let id = response.headers()["request-id"].to_str().unwrap().to_owned();
        let error = json!({ "type": kind, "message": message });
        let body: Value = serde_json::from_str(&read(response).await.text).unwrap();
        assert_eq!(body, json!({ "type": "error", "error": error, "request_id": id }));
    }
    let bearer = [("authorization", "Bearer k"), HEADERS[1]];
    let response = client.send_with("POST", "/v1/messages", &bearer, message("x").to_string()).await.unwrap();
    assert_eq!(response.status(), 200);
    read(response).await;
    let lost = client.send_with("GET", "/v1/messages", &HEADERS, String::new()).await.unwrap();
    assert_eq!(lost.status(), 404);
    assert!(read(lost).await.text.contains("not_found_error"));
    let models = read(client.send_with("GET", "/v1/models", &HEADERS, String::new()).await.unwrap()).await;
    assert!(models.text.contains(r#""has_more":false"#));
    let (status, body) = send(&upstream, &json!("{")).await;
    assert_eq!(status, 400);
    assert!(body.text.contains("invalid_request_error"));
}

#[tokio::test]
async fn a_beta_may_bring_fields_of_its_own() {
    let upstream = start(json!({}));
    let mut body = message("x");
    body["mcp_servers"] = json!([]);
    assert_eq!(send(&upstream, &body).await.0, 400);
    let mut client = Client::connect(&upstream, Protocol::H2).await;
    let headers = [HEADERS[0], HEADERS[1], ("anthropic-beta", "mcp-client-2025-04-04")];
    let response = client.send_with("POST", "/v1/messages", &headers, body.to_string()).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn faults_mean_what_they_mean_in_its_stream() {
    let upstream = start(json!({}));
    fault(&upstream, json!({ "kind": "no-done" }));
    let body = send(&upstream, &streamed("x")).await.1;
    assert_eq!(names(&body).last(), Some(&"message_delta"));

    fault(&upstream, json!({ "kind": "cut", "afterTokens": 3, "clean": true }));
    let body = send(&upstream, &streamed("x")).await.1;
    assert_eq!(names(&body).iter().filter(|name| **name == "content_block_delta").count(), 3);
    assert!(!body.text.contains("message_delta"));

    let openai = json!({ "error": { "message": "gone", "type": "server_error" } });
    let native = json!({ "type": "error", "error": { "type": "api_error", "message": "gone" } });
    let usual = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    for (body, said) in [(openai, &native), (native.clone(), &native), (Value::Null, &usual)] {
        fault(&upstream, json!({ "kind": "error-in-stream", "afterTokens": 2, "body": body }));
        let got = send(&upstream, &streamed("x")).await.1;
        assert_eq!((names(&got).last(), got.data().last()), (Some(&"error"), Some(said)));
        fault(&upstream, json!({ "kind": "error-in-stream", "afterTokens": 2, "body": body }));
        assert_eq!(json_of(&upstream, &message("x")).await, *said);
    }
    // The ping is the shortest event there is.
    for event in 1..=5 {
        fault(&upstream, json!({ "kind": "malformed", "atEvent": event }));
        let body = send(&upstream, &streamed("x")).await.1;
        let data: Vec<_> = body.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let broken: Vec<_> =
            (1..).zip(data).filter(|(_, data)| serde_json::from_str::<Value>(data).is_err()).collect();
        assert_eq!((broken.len(), broken[0].0), (1, event));
    }
    for (status, kind) in [
        (400, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ] {
        fault(&upstream, json!({ "kind": "status", "status": status }));
        let (got, body) = send(&upstream, &message("x")).await;
        let body: Value = serde_json::from_str(&body.text).unwrap();
        assert_eq!((got, &body["type"], &body["error"]["type"]), (status, &json!("error"), &json!(kind)));
    }
    fault(&upstream, json!({ "kind": "bad-utf8" }));
    let body = send(&upstream, &streamed("x")).await.1;
    assert!(body.text.contains("\"text\":\"\u{fffd}"));
}

//! The stand-in as Gemini: what it takes, what it refuses, and what it answers.

use serde_json::{Value, json};
use trunkline::mock::MockUpstream;

use super::{
    answer,
    client::{BOTH, Body, Client, Protocol, chat, fault, read, start},
    fields,
};

pub(crate) const KEY: [(&str, &str); 1] = [("x-goog-api-key", "k")];
pub(crate) const WHOLE: &str = "/v1beta/models/m:generateContent";
pub(crate) const STREAM: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";

pub(crate) fn contents(text: &str) -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] })
}

pub(crate) async fn send(upstream: &MockUpstream, path: &str, body: &Value) -> (u16, Body) {
    let mut client = Client::connect(upstream, Protocol::H1).await;
    let response = client.send_with("POST", path, &KEY, body.to_string()).await.unwrap();
    (response.status().as_u16(), read(response).await)
}

async fn json_of(upstream: &MockUpstream, path: &str, body: &Value) -> Value {
    serde_json::from_str(&send(upstream, path, body).await.1.text).unwrap()
}

fn text_of(chunks: &[Value]) -> String {
    let text =
        |chunk: &Value| chunk.pointer("/candidates/0/content/parts/0/text")?.as_str().map(str::to_owned);
    chunks.iter().filter_map(text).collect()
}

#[tokio::test]
async fn a_response_says_what_a_chat_says() {
    let upstream = start(json!({}));
    for protocol in BOTH {
        let mut client = Client::connect(&upstream, protocol).await;
        let said = client.json(&chat("12345678")).await;
        for (path, headers) in [(WHOLE, &KEY[..]), ("/models/m:generateContent?key=k", &[])] {
            let body = contents("12345678").to_string();
            let response = client.send_with("POST", path, headers, body).await.unwrap();
            assert!(!response.headers().contains_key("x-request-id"));
            let body: Value = serde_json::from_str(&read(response).await.text).unwrap();
            let candidate = json!({
                "content": { "parts": [{ "text": said["choices"][0]["message"]["content"] }], "role": "model" },
                "finishReason": "STOP", "index": 0,
            });
            assert_eq!((&body["candidates"], &body["modelVersion"]), (&json!([candidate]), &json!("m")));
            let tokens = said["usage"]["completion_tokens"].as_u64().unwrap();
            let usage = json!({ "promptTokenCount": 2, "candidatesTokenCount": tokens, "totalTokenCount": tokens + 2 });
            assert_eq!(body["usageMetadata"], usage);
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_finish_reason_and_without_done() {
    let upstream = start(json!({}));
    let whole = json_of(&upstream, WHOLE, &contents("x")).await;
    let (status, body) = send(&upstream, STREAM, &contents("x")).await;
    assert!(status == 200 && body.text.ends_with("\r\n\r\n") && !body.text.contains("[DONE]"));
    let chunks = body.data();
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!(text_of(before), whole["candidates"][0]["content"]["parts"][0]["text"]);
    assert!(before.iter().all(|chunk| chunk["candidates"][0].get("finishReason").is_none()));
    assert_eq!(
        (&last["candidates"][0]["finishReason"], &last["usageMetadata"]),
        (&json!("STOP"), &whole["usageMetadata"])
    );
    // Not asked for as events, it is an array of the same.
    let array = json_of(&upstream, "/v1beta/models/m:streamGenerateContent", &contents("x")).await;
    assert_eq!(array.as_array().unwrap(), &chunks);
}

#[tokio::test]
async fn candidates_tools_usage_and_finish_reasons_are_said_in_its_own_words() {
    let upstream = start(json!({}));
    let mut several = contents("x");
    several["generationConfig"] = json!({ "candidateCount": 3 });
    assert_eq!(json_of(&upstream, WHOLE, &several).await["candidates"].as_array().unwrap().len(), 3);
    let call = json!({ "function": { "name": "look", "arguments": "{\"b\":1.50,\"a\":[]}" } });
    upstream.reply(
        fields(json!({})),
        answer(json!({
            "toolCalls": [call], "usage": {
                "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                "prompt_tokens_details": { "cached_tokens": 60 }, "completion_tokens_details": { "reasoning_tokens": 5 },
            },
        })),
    );
    let (_, body) = send(&upstream, WHOLE, &contents("x")).await;
    assert!(body.text.contains(r#""parts":[{"functionCall":{"name":"look","args":{"b":1.50,"a":[]}}}]"#));
    let whole: Value = serde_json::from_str(&body.text).unwrap();
    assert_eq!(whole["candidates"][0]["finishReason"], "STOP");
    let usage = json!({
        "promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 15, "thoughtsTokenCount": 5,
        "totalTokenCount": 120,
    });
    assert_eq!(whole["usageMetadata"], usage);
    let chunks = send(&upstream, STREAM, &contents("x")).await.1.data();
    assert_eq!(
        chunks[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"],
        json!({ "b": 1.5, "a": [] })
    );
    for (given, said) in
        [("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("RECITATION", "RECITATION")]
    {
        upstream
            .reply(fields(json!({ "model": "m" })), answer(json!({ "content": "x", "finishReason": given })));
        assert_eq!(json_of(&upstream, WHOLE, &contents("x")).await["candidates"][0]["finishReason"], said);
    }
}

#[tokio::test]
async fn embeddings_are_those_of_any_protocol() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    let openai = json!({ "model": "e", "input": ["a", "b"], "dimensions": 3 }).to_string();
    let openai = read(client.send("POST", "/v1/embeddings", openai).await.unwrap()).await.text;
    let openai: Value = serde_json::from_str(&openai).unwrap();
    let one = |text: &str| json!({ "model": "models/e", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 3 });
    let got = json_of(&upstream, "/v1beta/models/e:embedContent", &one("a")).await;
    assert_eq!(got, json!({ "embedding": { "values": openai["data"][0]["embedding"] } }));
    let batch = json!({ "requests": [one("a"), one("b")] });
    let got = json_of(&upstream, "/v1beta/models/e:batchEmbedContents", &batch).await;
    assert_eq!(got["embeddings"][1]["values"], openai["data"][1]["embedding"]);
    for (path, body, message) in [
        ("e:embedContent", json!({ "input": "a" }), "Unknown name \"input\": Cannot find field."),
        ("e:embedContent", json!({ "content": { "parts": [] } }), "content: contents is not specified"),
        (
            "e:batchEmbedContents",
            json!({ "requests": [{ "content": { "parts": [{ "text": "a" }] } }] }),
            "requests[0].model: model is required",
        ),
        ("f:batchEmbedContents", batch, "requests[0].model: the model 'models/e' must be that of the batch"),
        ("e:batchEmbedContents", json!({}), "requests: at least one"),
    ] {
        let (status, got) = send(&upstream, &format!("/v1beta/models/{path}"), &body).await;
        assert_eq!(status, 400);
        let got: Value = serde_json::from_str(&got.text).unwrap();
        assert!(got["error"]["message"].as_str().unwrap().contains(message), "{got}");
    }
}

#[tokio::test]
async fn errors_are_a_status_of_googles() {
    let upstream = start(json!({}));
    let mut client = Client::connect(&upstream, Protocol::H1).await;
    let response = client.send("POST", WHOLE, contents("x").to_string()).await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(read(response).await.text.contains("PERMISSION_DENIED"));
    let got = json_of(&upstream, WHOLE, &json!({ "messages": [] })).await;
    let what = "Invalid JSON payload received. Unknown name \"messages\": Cannot find field.";
    assert_eq!(got["error"]["details"][0]["fieldViolations"], json!([{ "description": what }]));
    assert_eq!((&got["error"]["code"], &got["error"]["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
    let (status, got) = send(&upstream, "/v1beta/models/m:dance", &json!({})).await;
    assert!(status == 404 && got.text.contains("NOT_FOUND"));
    let models = read(client.send_with("GET", "/v1beta/models", &KEY, String::new()).await.unwrap()).await;
    assert!(models.text.contains(r#""name":"models/mock""#));
    for (status, name) in
        [(429, "RESOURCE_EXHAUSTED"), (500, "INTERNAL"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED")]
    {
        fault(&upstream, json!({ "kind": "status", "status": status }));
        let (got, body) = send(&upstream, WHOLE, &contents("x")).await;
        let body: Value = serde_json::from_str(&body.text).unwrap();
        assert_eq!(
            (got, &body["error"]["code"], &body["error"]["status"]),
            (status, &json!(status), &json!(name))
        );
    }
}

#[tokio::test]
async fn faults_mean_what_they_mean_in_its_stream() {
    let upstream = start(json!({}));
    fault(&upstream, json!({ "kind": "no-done" }));
    let body = send(&upstream, STREAM, &contents("x")).await.1;
    assert_eq!(body.data().last().unwrap()["candidates"][0]["finishReason"], "STOP");

    fault(&upstream, json!({ "kind": "cut", "afterTokens": 3, "clean": true }));
    let chunks = send(&upstream, STREAM, &contents("x")).await.1.data();
    assert!(chunks.len() == 3 && !json!(chunks).to_string().contains("finishReason"));

    let anthropic = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "gone" } });
    let native = json!({ "error": { "code": 503, "message": "gone", "status": "UNAVAILABLE" } });
    for body in [anthropic, native.clone()] {
        fault(&upstream, json!({ "kind": "error-in-stream", "afterTokens": 2, "body": body }));
        let chunks = send(&upstream, STREAM, &contents("x")).await.1.data();
        assert_eq!((chunks.len(), &chunks[2]), (3, &native));
    }
    fault(&upstream, json!({ "kind": "malformed", "atEvent": 2 }));
    let body = send(&upstream, STREAM, &contents("x")).await.1;
    let data: Vec<_> = body.text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert!(
        serde_json::from_str::<Value>(data[1]).is_err() && serde_json::from_str::<Value>(data[2]).is_ok()
    );
    fault(&upstream, json!({ "kind": "bad-utf8" }));
    assert!(send(&upstream, STREAM, &contents("x")).await.1.text.contains("\"text\":\"\u{fffd}"));
}

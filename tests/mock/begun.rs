//! Answers that a request has the beginning of: only the rest is said.

use serde_json::{Value, json};
use trunkline::mock::MockUpstream;

use super::{
    anthropic::message,
    client::{Client, Protocol, chat, read, start},
    fields,
    gemini::{STREAM, WHOLE, contents},
};

const PATHS: [&str; 3] = ["/v1/chat/completions", "/v1/messages", WHOLE];

/// The text of the answer, and how many tokens it says it has.
async fn said(upstream: &MockUpstream, path: &str, begun: Option<&str>) -> (String, u64) {
    let (mut body, list) = match path {
        "/v1/messages" => (message("Hello"), "messages"),
        WHOLE => (contents("Hello"), "contents"),
        _ => (chat("Hello"), "messages"),
    };
    if let Some(text) = begun {
        let turn = match path {
            WHOLE => json!({ "role": "model", "parts": [{ "text": text }] }),
            _ => json!({ "role": "assistant", "content": text }),
        };
        body[list].as_array_mut().unwrap().push(turn);
    }
    let text = send(upstream, path, &body).await;
    let got: Value = serde_json::from_str(&text).unwrap();
    let (text, tokens) = match path {
        "/v1/messages" => ("/content/0/text", "/usage/output_tokens"),
        WHOLE => ("/candidates/0/content/parts/0/text", "/usageMetadata/candidatesTokenCount"),
        _ => ("/choices/0/message/content", "/usage/completion_tokens"),
    };
    let text = got.pointer(text).and_then(Value::as_str).unwrap_or_default();
    (text.to_owned(), got.pointer(tokens).and_then(Value::as_u64).unwrap())
}

async fn send(upstream: &MockUpstream, path: &str, body: &Value) -> String {
    let key = match path {
        "/v1/messages" => "x-api-key",
        _ => "x-goog-api-key",
    };
    let mut client = Client::connect(upstream, Protocol::H1).await;
    let headers = [("anthropic-version", "2023-06-01"), (key, "k")];
    let response = client.send_with("POST", path, &headers, body.to_string()).await.unwrap();
    assert_eq!(response.status(), 200);
    read(response).await.text
}

#[tokio::test]
async fn an_answer_that_was_begun_is_gone_on_with_in_every_protocol() {
    let told = "One  two\nthree.";
    let own = start(json!({}));
    let set = start(json!({}));
    set.reply(fields(json!({})), told.into());
    for upstream in [own, set] {
        for path in PATHS {
            let (whole, tokens) = said(&upstream, path, None).await;
            let words: Vec<_> = whole.split_inclusive(char::is_whitespace).collect();
            let middle: String = words[..words.len() / 2].concat();
            let begun = middle.trim_end();
            let (rest, left) = said(&upstream, path, Some(begun)).await;
            assert_eq!(format!("{begun}{rest}"), whole, "{path}");
            assert!(left < tokens && left > 0, "{path}: {left} of {tokens}");
            // Another's beginning is no beginning of this answer.
            let (other, _) = said(&upstream, path, Some("Quite another")).await;
            assert!(other.len() > rest.len() && !other.is_empty(), "{path}: {other}");
            let (nothing, left) = said(&upstream, path, Some(&whole)).await;
            assert_eq!((nothing.as_str(), left), ("", 0), "{path}");
        }
    }
}

#[tokio::test]
async fn white_space_that_was_said_is_not_said_again_where_the_provider_takes_it() {
    let upstream = start(json!({}));
    upstream.reply(fields(json!({})), "One  two\nthree.".into());
    for path in [PATHS[0], WHOLE] {
        for (begun, rest) in [("One", "  two\nthree."), ("One ", " two\nthree."), ("One \n", "two\nthree.")] {
            assert_eq!(said(&upstream, path, Some(begun)).await.0, rest, "{path} {begun:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_too() {
    let upstream = start(json!({}));
    upstream.reply(fields(json!({})), "One two three".into());
    let begun =
        [json!({ "role": "user", "content": "Hi" }), json!({ "role": "assistant", "content": "One" })];
    let openai = json!({ "model": "m", "stream": true, "messages": begun });
    let anthropic = json!({ "model": "m", "stream": true, "max_tokens": 9, "messages": begun });
    let gemini = json!({ "contents": [
        { "role": "user", "parts": [{ "text": "Hi" }] }, { "role": "model", "parts": [{ "text": "One" }] },
    ] });
    for (path, body) in [(PATHS[0], openai), (PATHS[1], anthropic), (STREAM, gemini)] {
        let text = send(&upstream, path, &body).await;
        assert!(text.contains(r#"" two""#) && text.contains(r#"" three""#), "{path}: {text}");
        assert!(!text.contains("One"), "{path}: {text}");
    }
}

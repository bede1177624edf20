//! What a server may send, and how much of it is kept.

use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};

const INVALID: &str = "InvalidResponse, billed maybe, after maybe";

fn chunk(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

#[tokio::test]
async fn an_event_of_more_than_16_mebibytes_is_refused() {
    let site = Site::new(Way::H1);
    site.streams(&chunk(&"x".repeat(16 << 20)));
    assert_eq!(tell(&site.stream(Mode::Whole).await.result), INVALID);
    assert_eq!(site.seen(), 1);
}

#[tokio::test]
async fn a_stream_of_more_than_64_mebibytes_of_text_is_refused() {
    let site = Site::new(Way::H1);
    site.streams(&chunk(&"x".repeat(8 << 20)).repeat(9));
    assert_eq!(tell(&site.stream(Mode::Whole).await.result), INVALID);
    assert_eq!(site.seen(), 1);
    let seen = site.stream(Mode::Text).await;
    assert_eq!(tell(&seen.result), "StreamInterrupted retryable, billed maybe, after maybe");
}

#[tokio::test]
async fn chunks_that_say_nothing_are_not_held_without_end() {
    let site = Site::new(Way::H1);
    site.streams(&chunk("").repeat(25_000));
    assert_eq!(tell(&site.stream(Mode::Objects).await.result), INVALID);
    site.streams(&format!("{}{}data: [DONE]\n\n", chunk("").repeat(10_000), chunk("a")));
    let streamed = site.stream(Mode::Objects).await;
    assert_eq!((tell(&streamed.result), streamed.chunks.len()), ("ok after yes".into(), 10_001));
}

#[tokio::test]
async fn an_answer_of_more_than_64_mebibytes_is_refused() {
    for way in [Way::H1, Way::H2c] {
        let site = Site::new(way);
        let body = format!("\"{}\"", "x".repeat(64 << 20));
        site.says(json!({ "raw": { "body": body, "contentType": "application/json" } }));
        assert_eq!(tell(&site.post(json!({ "idempotencyKey": "k" })).await), INVALID, "{way:?}");
        assert_eq!(site.seen(), 1);
    }
}

#[tokio::test]
async fn a_chunk_of_another_shape_is_a_cut() {
    for data in [
        json!([]),
        json!(["c", 1, "m", "f", [{ "index": 0, "delta": { "content": "x" } }], null, null]),
        json!("text"),
        json!(7),
        json!({ "choices": [{ "index": 0, "delta": { "content": 7 } }] }),
        json!({ "choices": [{ "index": -1, "delta": { "content": "a" } }] }),
        json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 4_000_000_000_u64 }] } }] }),
    ] {
        let site = Site::new(Way::H1);
        site.streams(&format!("data: {data}\n\n"));
        let streamed = site.stream(Mode::Objects).await;
        assert_eq!(
            tell(&streamed.result),
            "Connection receive retryable, billed maybe, after maybe,maybe,maybe",
            "{data}"
        );
        assert!(streamed.raw.is_empty());
    }
}

#[tokio::test]
async fn the_pieces_of_a_large_answer_are_one() {
    for way in WAYS {
        let site = Site::new(way);
        let content = "é".repeat(4 << 20);
        site.says(json!({ "content": content }));
        let answer = site.client.call(site.make(Endpoint::Chat, &request(), json!({}))).await.unwrap();
        let body: Value = body_of(&answer);
        assert!(said(&body) == content, "{way:?}");
    }
}

//! What crosses to a stream's reader, and how much may lie unread.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use trunkline::client::{Endpoint, Mode, Outlet};

/// The chunks of a stream, which is the same each time, as they came.
async fn reference(site: &Site, body: &Value) -> Vec<Value> {
    let lines = site.stream_with(Mode::Lines, body, json!({})).await;
    lines.raw.concat().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn objects_that_cross_as_patterns_and_texts_are_the_chunks_that_were_sent() {
    let call = json!({ "function": { "name": "look", "arguments": "{\"where\":[\"{\"]}" } });
    for way in WAYS {
        let site = Site::new(way);
        for answer in [
            json!("one two three"),
            json!({ "content": "\u{0}\"\\\n\u{1f600} é \u{2028}{[}]", "chunks": 9 }),
            json!({ "content": "", "toolCalls": [call, call] }),
            json!({ "content": "and a call", "toolCalls": [call], "finishReason": "tool_calls" }),
        ] {
            site.says(answer.clone());
            for body in [request(), with(json!({ "n": 2, "stream_options": { "include_usage": true } }))] {
                let streamed = site.stream_with(Mode::Objects, &body, json!({})).await;
                let expected = reference(&site, &body).await;
                assert!(expected.len() > 2);
                assert_eq!(streamed.chunks, expected, "{way:?} {answer}");
            }
        }
    }
}

#[tokio::test]
async fn most_chunks_of_a_chat_cross_as_texts() {
    let site = Site::new(Way::H1);
    let streamed = site.stream(Mode::Objects).await;
    let elements: Vec<Value> =
        streamed.raw.iter().flat_map(|raw| serde_json::from_str::<Vec<Value>>(raw).unwrap()).collect();
    let texts = elements.iter().filter(|element| element.is_string()).count();
    assert!(elements.len() > 20 && texts + 4 >= elements.len(), "{texts} of {}", elements.len());
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-c{}\\[\\]\"\\\\:,]{0,6}",
        "\\PC{0,4}",
        Just("\u{0}\n\u{2028}".to_owned())
    ]
}

fn other() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from),
        Just(json!({})),
        Just(json!([])),
        text().prop_map(|text| json!({ "content": text })),
        text().prop_map(|text| json!([{ "delta": { "content": text } }])),
    ]
}

/// Members that do not mean anything to us.
fn others() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("(x|y|\\{|\"|content|delta|text)", other(), 0..3)
        .prop_map(|members| members.into_iter().map(|(name, value)| (format!("_{name}"), value)).collect())
}

fn choice() -> impl Strategy<Value = Value> {
    (others(), others(), 0..3_u32, proptest::option::of(proptest::option::of(text()))).prop_map(
        |(mut choice, mut delta, index, content)| {
            if let Some(content) = content {
                delta.insert("content".into(), json!(content));
            }
            choice.insert("index".into(), json!(index));
            choice.insert("delta".into(), delta.into());
            choice.into()
        },
    )
}

/// A chunk as text: in any order of members, with or without spaces.
fn chunk() -> impl Strategy<Value = String> {
    (others(), proptest::collection::vec(choice(), 0..3), any::<bool>(), any::<bool>()).prop_map(
        |(mut chunk, choices, pretty, model)| {
            if model {
                chunk.insert("model".into(), json!("m"));
            }
            chunk.insert("choices".into(), choices.into());
            let text =
                if pretty { serde_json::to_string_pretty(&chunk) } else { serde_json::to_string(&chunk) };
            text.unwrap()
        },
    )
}

/// Chunks of a few shapes each, repeated in any order, as patterns are.
fn chunks() -> impl Strategy<Value = Vec<String>> {
    let simple = |text: String| {
        format!(r#"{{"id":"i","choices":[{{"index":0,"delta":{{"content":{}}}}}]}}"#, json!(text))
    };
    let few = proptest::collection::vec(prop_oneof![chunk(), text().prop_map(simple)], 1..5);
    few.prop_flat_map(|few| proptest::collection::vec(proptest::sample::select(few), 1..12))
}

#[test]
fn random_chunks_come_out_as_they_went_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = runtime.block_on(async { Site::new(Way::H1) });
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(400) });
    let end = json!({ "choices": [
        { "index": 0, "delta": { "content": "." }, "finish_reason": "stop" },
    ] });
    let ran = runner.run(&chunks(), |chunks| {
        let chunks: Vec<_> = chunks.into_iter().chain([end.to_string()]).collect();
        // A line feed within a chunk begins a new line of data.
        let event = |chunk: &String| format!("data: {}\n\n", chunk.replace('\n', "\ndata: "));
        let body: String = chunks.iter().map(event).collect();
        site.upstream.reset();
        site.streams(&format!("{body}data: [DONE]\n\n"));
        let expected: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
        let (objects, texts) =
            runtime.block_on(async { (site.stream(Mode::Objects).await, site.stream(Mode::Text).await) });
        prop_assert_eq!(tell(&objects.result), "ok after yes");
        prop_assert_eq!(&objects.chunks, &expected);
        let first_choices = expected.iter().map(|chunk| {
            let mut choices = chunk["choices"].as_array().unwrap().iter();
            choices.find(|choice| choice["index"] == 0).and_then(|choice| choice["delta"]["content"].as_str())
        });
        prop_assert_eq!(texts.text, first_choices.flatten().collect::<String>());
        Ok(())
    });
    ran.unwrap();
    runtime.block_on(site.client.finish_close());
}

/// A stream whose reader has not begun, or does not say that it read.
async fn unread(site: &Site, mode: Option<Mode>) -> (Arc<Outlet>, tokio::task::JoinHandle<String>) {
    let outlet = Arc::new(Outlet::default());
    if let Some(mode) = mode {
        outlet.choose(mode);
    }
    let (client, pieces) = (site.client.clone(), outlet.clone());
    let call = site.make(Endpoint::Chat, &request(), json!({}));
    let running = tokio::spawn(async move { tell(&client.stream(call, pieces).await) });
    let received = || site.metrics()["bytes"]["received"].as_u64().unwrap();
    until("it began", || received() > 0).await;
    // Until nothing more comes.
    loop {
        let before = received();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if received() == before {
            return (outlet, running);
        }
    }
}

#[tokio::test]
async fn what_nobody_reads_is_not_received() {
    const CHUNK: usize = 10_000;
    let content = "x".repeat(300 * CHUNK);
    for way in WAYS {
        for mode in [None, Some(Mode::Text), Some(Mode::Objects)] {
            let site = Site::new(way);
            site.says(json!({ "content": content, "chunks": 300 }));
            let (outlet, running) = unread(&site, mode).await;
            let received = site.metrics()["bytes"]["received"].as_u64().unwrap();
            // 64 KiB unread, and what one read may bring.
            assert!(received < 1 << 20, "{way:?} {mode:?} {received}");
            assert!(!running.is_finished());
            // Others on the same connection go on.
            if way != Way::H1 {
                for _ in 0..20 {
                    site.embed(json!("a")).await.unwrap();
                }
                assert_eq!(site.upstream.connections().opened, 1);
            }
            outlet.choose(Mode::Text);
            let mut length = 0;
            while !running.is_finished() {
                if let Some(delivery) = outlet.take() {
                    length += delivery.text.len();
                    outlet.read(delivery.bytes);
                }
                tokio::task::yield_now().await;
            }
            length += outlet.take().map_or(0, |rest| rest.text.len());
            assert_eq!(running.await.unwrap(), "ok after yes");
            if mode != Some(Mode::Objects) {
                assert_eq!(length, content.len(), "{way:?} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_cancelled_by_its_drop() {
    for way in WAYS {
        let site = Site::new(way);
        site.says(json!({ "content": "x".repeat(4_000_000), "chunks": 400 }));
        let (_outlet, running) = unread(&site, None).await;
        running.abort();
        site.quiet().await;
        site.upstream.reset();
        site.works().await;
    }
}

#[tokio::test]
async fn the_socket_of_a_finished_stream_serves_again() {
    let site = Site::new(Way::H1);
    for _ in 0..20 {
        site.stream(Mode::Objects).await.result.unwrap();
        until("the socket rests", || site.metrics()["pool"]["connections"]["idle"] == 1).await;
    }
    assert_eq!(site.upstream.connections().opened, 1);
}

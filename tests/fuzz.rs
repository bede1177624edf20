//! Every decoder, fed with anything: golden files, whole and damaged, spliced and repeated, and values that are nearly right.
//!
//! `PROPTEST_CASES` says how many of each; `npm run test:fuzz` makes them many.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use trunkline::protocol::dialect::Reply;
use trunkline::protocol::sse::{Decoder, TooLong};
use trunkline::protocol::translate::Next;
use trunkline::protocol::{anthropic, gemini};

/// What the golden files hold: streams as they are; of the others each value within, down to a few levels.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut seeds = Vec::new();
    for folder in ["anthropic", "gemini", "round_trips"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let text = fs::read(file).unwrap();
            match serde_json::from_slice(&text) {
                Ok(value) => gather(&value, 3, &mut seeds),
                Err(_) => seeds.push(text),
            }
        }
    }
    for options in [
        json!({ "baseURL": "http://127.0.0.1:1/v1", "apiKey": ["a", "b"], "protocol": "gemini", "timeouts": { "total": 5 } }),
        json!({ "providers": { "a": { "baseURL": "https://x.test", "apiKey": "k", "query": { "api-version": "1" } } } }),
        json!({
            "providers": { "a": { "protocol": "openai", "apiKey": "k" }, "b": { "protocol": "anthropic", "apiKey": "k" } },
            "routes": { "m": { "strategy": "weighted", "targets": [{ "provider": "a", "model": "x", "weight": 2 }, { "provider": "b" }] } },
            "pricing": { "a/x": { "input": 1.5, "output": 2, "cachedInput": 0.1 } },
            "retry": { "maxRetries": 3 }, "rateLimit": { "requestsPerMinute": 5 },
        }),
    ] {
        gather(&options, 2, &mut seeds);
    }
    seeds
});

/// An object or a list, and those within.
fn gather(value: &Value, levels: usize, seeds: &mut Vec<Vec<u8>>) {
    let inner: Vec<&Value> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => return,
    };
    let text = value.to_string().into_bytes();
    // Long ones are long by repetition.
    if text.len() < 16_384 {
        seeds.push(text);
    }
    if levels > 0 {
        inner.into_iter().for_each(|value| gather(value, levels - 1, seeds));
    }
}

/// A kind of damage, done at places that are parts of the whole.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    Cut(Index),
    Drop(Index, usize),
    Repeat(Index, usize),
    Splice(Index, Index, Index),
    Say(Index, &'static [u8]),
}

/// What decoders have an opinion of.
const WORDS: [&[u8]; 14] = [
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\"\\ud800\"",
    b"\n\n",
    b"\r",
    b"data: ",
    b"event: error\n",
    b"[DONE]",
    b"\xEF\xBB\xBF",
];

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        at().prop_map(Damage::Cut),
        (at(), 1_usize..40).prop_map(|(at, length)| Damage::Drop(at, length)),
        (at(), 1_usize..200).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (at(), at(), at()).prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
        (at(), proptest::sample::select(WORDS.as_slice())).prop_map(|(at, word)| Damage::Say(at, word)),
    ]
}

fn damaged(seed: Index, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = SEEDS[seed.index(SEEDS.len())].clone();
    for damage in damages {
        let place = |at: &Index| at.index(bytes.len().max(1)).min(bytes.len());
        match damage {
            Damage::Byte(at, byte) => {
                let at = place(at);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Damage::Cut(at) => bytes.truncate(place(at)),
            Damage::Drop(at, length) => {
                let at = place(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Damage::Repeat(at, length) => {
                let at = place(at);
                let piece = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            Damage::Splice(at, other, from) => {
                let other = &SEEDS[other.index(SEEDS.len())];
                let rest = &other[from.index(other.len())..];
                bytes.truncate(place(at));
                bytes.extend_from_slice(rest);
            }
            Damage::Say(at, word) => {
                let at = place(at);
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
    bytes
}

/// Values in which the names that decoders look for stand in any place.
fn nearly() -> impl Strategy<Value = Value> {
    let names = [
        "type",
        "role",
        "content",
        "text",
        "messages",
        "index",
        "delta",
        "content_block",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "choices",
        "finish_reason",
        "usage",
        "error",
        "code",
        "status",
        "details",
        "candidates",
        "parts",
        "functionCall",
        "args",
        "message",
        "thinking_blocks",
        "citations",
        "extra_content",
        "input",
        "tools",
        "parameters",
        "image_url",
        "url",
        "stop",
        "providers",
        "routes",
        "targets",
        "pricing",
        "baseURL",
        "apiKey",
        "protocol",
    ];
    let words = [
        "",
        "text",
        "user",
        "assistant",
        "tool",
        "system",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "tool_use",
        "thinking",
        "text_delta",
        "input_json_delta",
        "STOP",
        "end_turn",
        "gemini",
        "function",
        "data:image/png;base64,AAAA",
        "{}",
        "é\u{1F600}\u{2028}",
        "\u{0}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u8..3).prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(names.to_vec()), inner), 0..6).prop_map(
                |fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            ),
        ]
    })
}

fn feed(bytes: &[u8]) {
    for (_, target) in targets::ALL {
        target(bytes);
    }
}

#[test]
fn golden_files_and_what_they_hold_are_taken_by_every_decoder() {
    assert!(SEEDS.len() > 2_000, "{} seeds", SEEDS.len());
    SEEDS.iter().for_each(|seed| feed(seed));
}

proptest! {
    #[test]
    fn damaged_golden_files_make_no_panic_and_no_broken_json(
        seed in any::<Index>(), damages in proptest::collection::vec(damage(), 1..5),
    ) {
        feed(&damaged(seed, &damages));
    }

    #[test]
    fn what_is_nearly_right_makes_no_panic_and_no_broken_json(values in proptest::collection::vec(nearly(), 1..4)) {
        let events: String = values.iter().map(|value| format!("data: {value}\n\n")).collect();
        feed(events.as_bytes());
        let [first, ..] = &values[..] else { unreachable!("one at least") };
        feed(first.to_string().as_bytes());
        feed(json!({ "model": "m", "messages": [{ "role": "user", "content": "a" }, first], "tools": first }).to_string().as_bytes());
        feed(json!({ "messages": [{ "role": "user", "content": [first] }, { "role": "assistant", "tool_calls": [first] }] }).to_string().as_bytes());
        feed(json!({ "providers": { "a": first }, "routes": { "m": first }, "pricing": { "m": first } }).to_string().as_bytes());
        feed(json!({ "providers": { "a": { "apiKey": "k" } }, "routes": { "m": { "targets": [first] } } }).to_string().as_bytes());
        feed(json!({ "content": [first], "stop_reason": "end_turn", "candidates": [{ "content": { "parts": [first] } }], "embeddings": [first] }).to_string().as_bytes());
    }

    #[test]
    fn any_bytes_make_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        feed(&bytes);
    }
}

/// Nothing here is timed: what takes the square of its input's time would not end while anybody waits.
#[test]
fn long_streams_in_small_pieces_take_a_time_that_grows_with_their_length_alone() {
    let line = format!("data: {}\n\n", "x".repeat(1 << 20));
    let (mut decoder, mut bytes) = (Decoder::new(), 0);
    for piece in line.as_bytes().chunks(1) {
        decoder
            .feed::<TooLong>(piece, |event| {
                bytes += event.data.len();
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(bytes, 1 << 20);

    let anthropic = |at: usize| match at {
        0 => json!({ "type": "message_start", "message": {} }),
        1 => {
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "tool_use", "id": "a", "name": "b" } })
        }
        _ => {
            json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": "x" } })
        }
    };
    let gemini = |at: usize| json!({ "candidates": [{ "content": { "parts": [{ "executableCode": { "code": at } }] } }] });
    let replies: [(Reply, &dyn Fn(usize) -> Value); 2] = [
        (Reply::Anthropic(anthropic::Context::default()), &anthropic),
        (Reply::Gemini(gemini::Context { choices: 1, model: String::new() }), &gemini),
    ];
    for (reply, event) in replies {
        let mut events = reply.events(|| 0).unwrap();
        for at in 0..10_000 {
            let next = events.event(b"", event(at).to_string().as_bytes(), &mut Vec::new());
            assert_eq!(next, Ok(Next::More));
        }
    }

    let long = json!({ "messages": vec![json!({ "role": "user", "content": "a" }); 5_000] }).to_string();
    let calls: Vec<_> =
        (0..1_000).map(|at| json!({ "id": format!("c{at}"), "function": { "name": "f" } })).collect();
    let results =
        (0..1_000).map(|at| json!({ "role": "tool", "tool_call_id": format!("c{at}"), "content": "x" }));
    let talk =
        [json!({ "role": "user", "content": "a" }), json!({ "role": "assistant", "tool_calls": calls })];
    let busy = json!({ "messages": talk.into_iter().chain(results).collect::<Vec<_>>() }).to_string();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!(r#"{{"messages":[{{"role":"user","content":"a","x":{deep}}}],"tools":{deep}}}"#);
    for body in [&long, &busy, &deep] {
        targets::anthropic_request(body.as_bytes());
        targets::gemini_request(body.as_bytes());
        targets::openai_request(body.as_bytes());
    }
}

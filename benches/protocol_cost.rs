//! What a protocol adds to a call, measured by hand and never judged, since machines are noisy: nothing measurable where the text
//! passes through, and a translation of 4 KB should take less than 20 µs.
//!
//! `cargo bench --no-default-features --bench protocol_cost`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline::protocol::dialect::{Chat, Protocol};

/// A conversation of 4 KB with instructions, tools, a call and its result.
fn conversation() -> String {
    let tool = |name: &str| {
        let properties =
            json!({ "city": { "type": "string", "description": "Where?" }, "days": { "type": "integer" } });
        json!({ "type": "function", "function": {
            "name": name, "description": "Looks at the weather of the next days.",
            "parameters": { "type": "object", "properties": properties, "required": ["city"] },
        } })
    };
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\":\"Bern\"}" } });
    let mut body = json!({
        "model": "m", "temperature": 0.5, "max_completion_tokens": 1000, "stop": ["END"], "user": "u-1",
        "tools": [tool("weather"), tool("climate"), tool("tides")],
        "messages": [
            { "role": "system", "content": "You answer in one short sentence, \u{201c}politely\u{201d}." },
            { "role": "user", "content": "What is the weather in Bern?" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "call_1", "content": "{\"sky\":\"grey\",\"degrees\":4.5}" },
            { "role": "user", "content": [{ "type": "text", "text": "" }] },
        ],
    });
    let rest = 4096 - body.to_string().len();
    body["messages"][4]["content"][0]["text"] = "lorem ipsum ".repeat(rest / 12 + 1)[..rest].into();
    body.to_string()
}

/// The least time of many: whatever else the machine did came on top of it.
fn least(mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let began = Instant::now();
        for _ in 0..100 {
            run();
        }
        best = best.min(began.elapsed() / 100);
    }
    best
}

fn main() {
    let body = conversation();
    assert_eq!(body.len(), 4096);
    let said = |protocol: Protocol, model: Option<&str>, mixed: bool| {
        let chat = Chat {
            body: &body,
            model,
            asked: "m",
            is_stream: false,
            asks_stream: false,
            prefill: None,
            mixed,
        };
        black_box(protocol.chat(black_box(chat)).unwrap());
    };
    for (what, protocol, model, mixed) in [
        ("openai, as it is", Protocol::OpenAi, None, false),
        ("openai, beside other protocols", Protocol::OpenAi, None, true),
        ("openai, with another model", Protocol::OpenAi, Some("n"), false),
        ("anthropic", Protocol::Anthropic, Some("claude-sonnet-4-5"), false),
        ("gemini", Protocol::Gemini, Some("gemini-2.5-flash"), false),
    ] {
        println!("{what:32} {:>8.2} µs", least(|| said(protocol, model, mixed)).as_secs_f64() * 1e6);
    }
    let parse = least(|| drop(black_box(serde_json::from_str::<Value>(black_box(&body)).unwrap())));
    println!("{:32} {:>8.2} µs", "beside: parsing it as a document", parse.as_secs_f64() * 1e6);
}

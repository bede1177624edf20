//! Anthropic's Messages API by the golden files in `tests/golden/anthropic`: shapes from its public documentation.
//!
//! - `request-*.json`: `in` in OpenAI's shape, with `out`, `dropped` and `trimmed`, or `refused`
//! - `answer-*.json`: `in` (or `text`, what is no JSON), with `out` or `malformed`
//! - `stream-*.sse`, and beside it the deltas, the end and the usages that its chunks say
//! - `error-*.json`: status and body, with the class and the fields

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline::protocol::anthropic::{self, Context, Events};
use trunkline::protocol::json::Members;
use trunkline::protocol::openai::{Chunk, Completion, ErrorFields, class_of};
use trunkline::protocol::sse::{Decoder, TooLong};
use trunkline::protocol::translate::{Malformed, Next};

const CREATED: u64 = 1_700_000_000;

/// The golden files of a kind, with their names.
fn golden(kind: &str, extension: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/anthropic");
    let mut files: Vec<(String, String)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(kind) && name.ends_with(extension))
        .map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap()))
        .collect();
    files.sort();
    files
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or_default()
}

fn context(case: &Value) -> Context {
    Context { trimmed: text(case, "trimmed").to_owned() }
}

/// Fails with the names of all cases that differ, not the first alone.
fn every(kind: &str, extension: &str, at_least: usize, check: impl Fn(&str, &Value) -> Result<(), String>) {
    let files = golden(kind, extension);
    assert!(files.len() >= at_least, "{} files of {kind}", files.len());
    let wrong: Vec<String> = files
        .iter()
        .filter_map(|(name, file)| {
            let case: Value = serde_json::from_str(file).unwrap_or_else(|error| panic!("{name}: {error}"));
            check(name, &case).err().map(|what| format!("{name}: {what}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn same(what: &str, got: &Value, expected: &Value) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}\n     got {got}\nexpected {expected}")) }
}

#[test]
fn requests_are_said_in_anthropics_words_or_refused_with_their_place() {
    let files = golden("request-", ".json");
    every("request-", ".json", 60, |name, case| {
        let stream = case["stream"] == true;
        // As the text stands in the file, since the order of members is the order of what is told.
        let (_, file) = files.iter().find(|(have, _)| have == name).unwrap();
        let asked = Members::of(file).unwrap().raw("in").unwrap();
        let translated = anthropic::request(asked, text(case, "model"), stream);
        match (translated, case.get("refused")) {
            (Err(refused), Some(expected)) => {
                same("refused", &json!({"path": refused.path, "message": refused.message}), expected)
            }
            (Ok(translated), None) => {
                let body: Value =
                    serde_json::from_str(&translated.body).map_err(|error| error.to_string())?;
                same("body", &body, &case["out"])?;
                same("dropped", &json!(translated.dropped), &case["dropped"])?;
                same("trimmed", &json!(translated.context.trimmed), &json!(text(case, "trimmed")))
            }
            (Ok(translated), Some(_)) => Err(format!("not refused: {}", translated.body)),
            (Err(refused), None) => Err(format!("refused: {refused:?}")),
        }
    });
}

#[test]
fn whole_answers_are_completions_or_none() {
    every("answer-", ".json", 30, |_, case| {
        let body = case["text"].as_str().map_or_else(|| case["in"].to_string(), str::to_owned);
        match (anthropic::answer(&body, &context(case), CREATED), case.get("malformed")) {
            (Err(Malformed(what)), Some(expected)) => same("malformed", &json!(what), expected),
            (Ok(completion), None) => {
                let completion = serde_json::from_str(&completion).map_err(|error| error.to_string())?;
                same("completion", &completion, &case["out"])
            }
            (got, _) => Err(format!("{got:?}")),
        }
    });
}

/// What a stream gives: its chunks, and how it ended.
type Streamed = (Vec<String>, Result<Next, Malformed>);

struct Stop(Result<Next, Malformed>);

impl From<TooLong> for Stop {
    fn from(_: TooLong) -> Self {
        Self(Err(Malformed("too long")))
    }
}

/// Reads a stream in pieces of `size` bytes.
fn streamed(sse: &str, context: &Context, size: usize) -> Streamed {
    let (mut decoder, mut events, mut out) = (Decoder::new(), Events::new(context, CREATED), Vec::new());
    for piece in sse.as_bytes().chunks(size) {
        let fed = decoder.feed(piece, |event| match events.event(event.name, event.data, &mut out) {
            Ok(Next::More) => Ok(()),
            end => Err(Stop(end)),
        });
        if let Err(Stop(end)) = fed {
            return (out, end);
        }
    }
    (out, Ok(Next::More))
}

#[test]
fn streams_are_chunks_however_they_are_cut() {
    let events = golden("stream-", ".sse");
    every("stream-", ".json", 40, |name, case| {
        let (_, sse) = events.iter().find(|(sse, _)| sse[..sse.len() - 4] == name[..name.len() - 5]).unwrap();
        let context = context(case);
        let whole = streamed(sse, &context, usize::MAX);
        for size in [1, 7] {
            if streamed(sse, &context, size) != whole {
                return Err(format!("in pieces of {size} bytes it is another"));
            }
        }
        let (out, end) = whole;
        let (mut deltas, mut finish, mut usages) = (Vec::new(), None, Vec::new());
        for text in &out {
            Chunk::of(text).map_err(|error| format!("{text}: {error}"))?;
            assert!(!text.contains('\n'), "{name}: more than one line");
            let chunk: Value = serde_json::from_str(text).unwrap();
            same("object", &chunk["object"], &json!("chat.completion.chunk"))?;
            same("created", &chunk["created"], &json!(CREATED))?;
            same("model", &chunk["model"], &json!("claude-opus-5"))?;
            if let Some(tier) = case.get("service_tier") {
                same("tier", &chunk["service_tier"], tier)?;
            }
            match chunk["choices"].as_array().unwrap().as_slice() {
                [] => usages.push(chunk["usage"].clone()),
                [choice] if choice["finish_reason"].is_null() => deltas.push(choice["delta"].clone()),
                [choice] => finish = Some(json!([choice["finish_reason"], choice["native_finish_reason"]])),
                more => panic!("{name}: {} choices", more.len()),
            }
        }
        same("deltas", &json!(deltas), &case["deltas"])?;
        same("finish", &json!(finish), &case["finish"])?;
        same("usages", &json!(usages), case.get("usages").unwrap_or(&json!([])))?;
        let end = match end {
            Ok(Next::Done) => json!("done"),
            Ok(Next::More) => json!("more"),
            Ok(Next::Error(body)) => {
                let body = serde_json::from_str(&body).map_err(|error| error.to_string())?;
                json!({"error": ErrorFields::of(&body).implied_status()})
            }
            Err(Malformed(what)) => json!({"malformed": what}),
        };
        same("end", &end, &case["end"])
    });
}

#[test]
fn errors_have_their_class_and_their_fields() {
    every("error-", ".json", 15, |_, case| {
        let fields = anthropic::error_fields(&case["body"]);
        let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
        same("class", &json!(format!("{:?}", class_of(status, &fields))), &case["class"])?;
        same("code", &json!(fields.code), &case["code"])?;
        same("param", &json!(fields.param), &case["param"])?;
        // The same error inside a stream stands for the same status, and so for the same class.
        if case["body"]["error"]["type"].is_string() {
            let event = case["body"].to_string();
            let mut events = Events::new(&Context::default(), CREATED);
            let Ok(Next::Error(body)) = events.event(b"error", event.as_bytes(), &mut Vec::new()) else {
                return Err("no error in a stream".to_owned());
            };
            let inside = ErrorFields::of(&serde_json::from_str(&body).unwrap());
            same("code inside", &json!(inside.code), &case["code"])?;
            let implied = inside.implied_status();
            let expected = if case["body"]["error"]["type"] == "strange_error" { 500 } else { status };
            same("status inside", &json!(implied), &json!(expected))?;
        }
        Ok(())
    });
}

#[test]
fn numbers_and_the_order_of_keys_stay_as_they_are() {
    let schema = r#"{"type":"object","z":1.0,"a":{"maximum":12345678901234567890123,"b":1e400}}"#;
    let input = r#"{ "z": 1.50, "a": 100000000000000000001 }"#;
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":{}}}}}]}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}],"temperature":0.30}}"#,
        Value::from(input)
    );
    let translated = anthropic::request(&body, "claude-sonnet-4-5", false).unwrap().body;
    for kept in [schema, input, r#""temperature":0.30"#] {
        assert!(translated.contains(kept), "{kept} in {translated}");
    }
    let answer = format!(
        r#"{{"type":"message","content":[{{"type":"tool_use","id":"c","name":"f","input":{input}}}],"stop_reason":"tool_use"}}"#
    );
    let completion = anthropic::answer(&answer, &Context::default(), 0).unwrap();
    assert!(completion.contains(&Value::from(input).to_string()), "{completion}");
}

#[test]
fn a_hostile_depth_is_no_panic() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let request = format!(r#"{{"messages":[{{"role":"user","content":{deep}}}]}}"#);
    assert!(anthropic::request(&request, "m", false).is_err());
    let answer = format!(r#"{{"content":[{{"type":"x","y":{deep}}}],"stop_reason":"end_turn"}}"#);
    let _ = anthropic::answer(&answer, &Context::default(), 0);
    let event = format!(r#"{{"type":"error","error":{deep}}}"#);
    let mut events = Events::new(&Context::default(), 0);
    assert!(matches!(events.event(b"error", event.as_bytes(), &mut Vec::new()), Ok(Next::Error(_))));
}

/// A block of an answer, whole.
fn block() -> impl Strategy<Value = Value> {
    let text = "[a-c \\n\"\\\\é🎈]{1,12}";
    prop_oneof![
        text.prop_map(|text| json!({"type": "text", "text": text})),
        (text, "[a-z]{1,4}")
            .prop_map(|(text, sign)| json!({"type": "thinking", "thinking": text, "signature": sign})),
        "[a-z]{1,4}".prop_map(|data| json!({"type": "redacted_thinking", "data": data})),
        ("[a-z]{1,4}", text).prop_map(
            |(id, text)| json!({"type": "tool_use", "id": id, "name": "f", "input": {"x": text, "n": 1}})
        ),
        "[a-z]{1,4}"
            .prop_map(|id| json!({"type": "server_tool_use", "id": id, "name": "s", "input": {"q": 1}})),
    ]
}

/// The events that a server would send for a block, its texts in pieces of `size` characters.
fn events_of(index: usize, block: &Value, size: usize) -> Vec<Value> {
    let pieces = |text: &str| -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        chars.chunks(size).map(|piece| piece.iter().collect()).collect()
    };
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let mut begin = block.clone();
    let mut deltas = Vec::new();
    match block["type"].as_str().unwrap() {
        "text" => {
            begin["text"] = json!("");
            for piece in pieces(text(block, "text")) {
                deltas.push(delta(json!({"type": "text_delta", "text": piece})));
            }
        }
        "thinking" => {
            (begin["thinking"], begin["signature"]) = (json!(""), json!(""));
            for piece in pieces(text(block, "thinking")) {
                deltas.push(delta(json!({"type": "thinking_delta", "thinking": piece})));
            }
            deltas.push(delta(json!({"type": "signature_delta", "signature": block["signature"]})));
        }
        "tool_use" | "server_tool_use" => {
            begin["input"] = json!({});
            for piece in pieces(&block["input"].to_string()) {
                deltas.push(delta(json!({"type": "input_json_delta", "partial_json": piece})));
            }
        }
        _ => {}
    }
    let mut events = vec![json!({"type": "content_block_start", "index": index, "content_block": begin})];
    events.append(&mut deltas);
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}

proptest! {
    #[test]
    fn a_stream_gathers_to_what_the_whole_answer_says(
        blocks in proptest::collection::vec(block(), 0..5),
        size in 1_usize..5,
        trimmed in "[ \\n]{0,2}",
    ) {
        let context = Context { trimmed };
        let mut message = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "content": blocks, "model": "claude-opus-5",
            "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 9},
        });
        let whole: Value =
            serde_json::from_str(&anthropic::answer(&message.to_string(), &context, CREATED).unwrap()).unwrap();

        (message["content"], message["stop_reason"]) = (json!([]), Value::Null);
        let mut events = vec![json!({"type": "message_start", "message": message})];
        for (index, block) in blocks.iter().enumerate() {
            events.append(&mut events_of(index, block, size));
        }
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}));
        events.push(json!({"type": "message_stop"}));
        let sse: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let (chunks, end) = streamed(&sse, &context, usize::MAX);
        prop_assert_eq!(end, Ok(Next::Done));

        let (mut completion, mut back) = (Completion::default(), Value::Null);
        for text in &chunks {
            completion.add(&Chunk::of(text).unwrap()).unwrap();
            let chunk: Value = serde_json::from_str(text).unwrap();
            if !chunk["choices"][0]["delta"]["thinking_blocks"].is_null() {
                back = chunk["choices"][0]["delta"]["thinking_blocks"].clone();
            }
        }
        prop_assert!(completion.is_finished(1));
        let gathered: Value = serde_json::from_str(&completion.to_json()).unwrap();
        let (got, expected) = (&gathered["choices"][0]["message"], &whole["choices"][0]["message"]);
        for name in ["reasoning_content", "tool_calls"] {
            prop_assert_eq!(&got[name], &expected[name]);
        }
        // An answer of white space that the caller has already is nothing in pieces, and empty as a whole.
        prop_assert_eq!(got["content"].as_str().unwrap_or(""), expected["content"].as_str().unwrap_or(""));
        prop_assert_eq!(&back, &expected["thinking_blocks"]);
        prop_assert_eq!(&gathered["usage"], &whole["usage"]);
    }

    #[test]
    fn an_answer_that_is_sent_back_is_the_blocks_that_it_was(blocks in proptest::collection::vec(block(), 1..6)) {
        let message = json!({"type": "message", "content": blocks, "stop_reason": "tool_use"});
        let whole: Value =
            serde_json::from_str(&anthropic::answer(&message.to_string(), &Context::default(), 0).unwrap()).unwrap();
        let request = json!({"messages": [
            {"role": "user", "content": "a"}, whole["choices"][0]["message"], {"role": "user", "content": "b"},
        ]});
        let sent: Value = serde_json::from_str(
            &anthropic::request(&request.to_string(), "claude-opus-5", false).unwrap().body,
        ).unwrap();
        let whole_back = whole["choices"][0]["message"]["thinking_blocks"].as_array().is_some_and(|list| {
            list.iter().any(|block| !block["type"].as_str().unwrap().ends_with("thinking"))
        });
        // Without an order to keep, texts come back as one.
        let mut expected: Vec<Value> = Vec::new();
        for block in &blocks {
            match expected.last_mut() {
                Some(last) if !whole_back && last["type"] == "text" && block["type"] == "text" => {
                    last["text"] = format!("{}{}", text(last, "text"), text(block, "text")).into();
                }
                _ => expected.push(block.clone()),
            }
        }
        if !whole_back {
            expected.retain(|block| block["type"] != "text" || !text(block, "text").trim().is_empty());
        }
        if expected.is_empty() {
            prop_assert_eq!(&sent["messages"], &json!([{"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
            ]}]));
        } else {
            prop_assert_eq!(&sent["messages"][1]["content"], &json!(expected));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), name in "[a-z_]{0,20}") {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = anthropic::request(text, "m", false);
            let _ = anthropic::answer(text, &Context::default(), 0);
        }
        let _ = Events::new(&Context::default(), 0).event(name.as_bytes(), &bytes, &mut Vec::new());
    }

    #[test]
    fn no_damage_to_a_golden_file_panics(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let files: Vec<_> = ["request-", "answer-", "error-"].iter().flat_map(|kind| golden(kind, ".json")).collect();
        let streams = golden("stream-", ".sse");
        let (_, file) = &files[which.index(files.len())];
        let case: Value = serde_json::from_str(file).unwrap();
        let damage = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let body = damage(&case.get("in").unwrap_or(&case["body"]).to_string());
        let _ = anthropic::request(&body, text(&case, "model"), false);
        let _ = anthropic::answer(&body, &Context::default(), 0);
        if let Ok(body) = serde_json::from_str(&body) {
            let _ = anthropic::error_fields(&body);
        }
        let (_, sse) = &streams[which.index(streams.len())];
        for chunk in streamed(&damage(sse), &Context { trimmed: " ".to_owned() }, usize::MAX).0 {
            prop_assert!(!chunk.contains('\n'));
        }
    }
}

//! Gemini's protocol against golden files: `tests/golden/gemini/KIND-NAME.json`, each with what it shows, what goes in and
//! exactly what comes out, numbers and the order of members included.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use trunkline::protocol::gemini::{self, Context, Events, embed};
use trunkline::protocol::json::Members;
use trunkline::protocol::openai::{Chunk, Completion, class_of};
use trunkline::protocol::sse::{Decoder, TooLong};
use trunkline::protocol::translate::{Inexpressible, Malformed, Next};

const CREATED: u64 = 1_700_000_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemini")
}

/// Compares what comes of each file of a kind with what the file says of it; tells of all that differ.
fn walk(kind: &str, at_least: usize, evaluate: impl Fn(&Case) -> String) {
    let mut paths: Vec<_> = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(&format!("{kind}-")) && name.ends_with(".json")
    });
    paths.sort();
    assert!(paths.len() >= at_least, "{kind}: only {} files", paths.len());
    let mut wrong = String::new();
    for path in paths {
        let case = Case { text: fs::read_to_string(&path).unwrap(), path };
        let (have, want) = (evaluate(&case), compact(case.raw("gives")));
        if have != want {
            let name = case.path.file_stem().unwrap().to_string_lossy();
            let what: String = case.value("what");
            writeln!(wrong, "{name} ({what})\n  gives {have}\n  not   {want}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

struct Case {
    path: PathBuf,
    text: String,
}

impl Case {
    fn raw(&self, name: &str) -> &str {
        let members = Members::of(&self.text).unwrap_or_else(|_| panic!("{}", self.path.display()));
        members.raw(name).unwrap_or("")
    }

    fn value<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_str(self.raw(name)).unwrap_or_else(|_| panic!("{}: {name}", self.path.display()))
    }

    fn context(&self) -> Context {
        Context { choices: self.value("choices"), model: "gemini-asked-for".to_owned() }
    }
}

/// JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let (mut out, mut inside, mut escaped) = (String::new(), false, false);
    for letter in json.chars() {
        if inside || !letter.is_ascii_whitespace() {
            out.push(letter);
        }
        inside ^= letter == '"' && !escaped;
        escaped = inside && letter == '\\' && !escaped;
    }
    out
}

fn refused(refused: &Inexpressible) -> String {
    json!({ "refused": { "path": refused.path, "message": refused.message } }).to_string()
}

fn malformed(malformed: Malformed) -> String {
    json!({ "malformed": malformed.0 }).to_string()
}

#[test]
fn requests_are_said_in_geminis_words_or_refused_by_their_path() {
    walk("request", 60, |case| {
        let model: String = case.value("model");
        match gemini::request(case.raw("request"), &model, false) {
            Ok(translated) => {
                assert!(serde_json::from_str::<Value>(&translated.body).is_ok(), "{}", translated.body);
                assert_eq!(translated.context.model, model);
                format!(
                    r#"{{"body":{},"choices":{},"dropped":{}}}"#,
                    compact(&translated.body),
                    translated.context.choices,
                    json!(translated.dropped)
                )
            }
            Err(error) => refused(&error),
        }
    });
}

#[test]
fn answers_are_completions_or_none() {
    walk("answer", 40, |case| match gemini::answer(case.raw("answer"), &case.context(), CREATED) {
        Ok(completion) => {
            assert!(serde_json::from_str::<Value>(&completion).is_ok(), "{completion}");
            completion
        }
        Err(error) => malformed(error),
    });
}

/// What comes of a stream that is cut into pieces of `size` bytes.
fn streamed(bytes: &[u8], context: &Context, size: usize) -> (Vec<String>, Result<Next, Malformed>) {
    enum Stop {
        TooLong,
        Next(Result<Next, Malformed>),
    }
    impl From<TooLong> for Stop {
        fn from(_: TooLong) -> Self {
            Self::TooLong
        }
    }
    let (mut decoder, mut events, mut out) = (Decoder::new(), Events::new(context, CREATED), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        let fed = decoder.feed(piece, |event| match events.event(event.name, event.data, &mut out) {
            Ok(Next::More) => Ok(()),
            other => Err(Stop::Next(other)),
        });
        match fed {
            Ok(()) => {}
            Err(Stop::Next(next)) => return (out, next),
            Err(Stop::TooLong) => panic!("an event too long"),
        }
    }
    events.finish(&mut out);
    (out, Ok(Next::More))
}

#[test]
fn streams_are_chunks_however_they_are_cut() {
    walk("stream", 20, |case| {
        let bytes = fs::read(case.path.with_extension("sse")).unwrap();
        let context = case.context();
        let (chunks, next) = streamed(&bytes, &context, bytes.len());
        for size in [1, 2, 7, 64] {
            assert_eq!(streamed(&bytes, &context, size), (chunks.clone(), next.clone()), "pieces of {size}");
        }
        let mut completion = Completion::default();
        for chunk in &chunks {
            assert!(!chunk.contains('\n'), "{chunk}");
            completion.add(&Chunk::of(chunk).unwrap()).unwrap();
        }
        let end = match next {
            Ok(Next::More) => json!("end of the body").to_string(),
            Ok(Next::Done) => json!("done").to_string(),
            Ok(Next::Error(error)) => error,
            Err(error) => malformed(error),
        };
        format!(
            r#"{{"chunks":[{}],"end":{end},"finished":{}}}"#,
            chunks.join(","),
            completion.is_finished(context.choices)
        )
    });
}

#[test]
fn errors_have_openais_fields_and_their_class() {
    walk("error", 20, |case| {
        let body: Value = case.value("error");
        let fields = gemini::error_fields(&body);
        let class = class_of(fields.status.unwrap_or_else(|| case.value("status")), &fields);
        let fields = format!(
            r#"{{"code":{},"type":{},"param":{},"message":{},"status":{}}}"#,
            json!(fields.code),
            json!(fields.kind),
            json!(fields.param),
            json!(fields.message),
            json!(fields.status)
        );
        let delay = gemini::retry_delay(&body).map(|delay| delay.as_secs_f64());
        format!(
            r#"{{"fields":{fields},"class":"{}","retryAfter":{}}}"#,
            compact(&format!("{class:?}")),
            json!(delay)
        )
    });
}

#[test]
fn embeddings_go_in_a_batch_and_come_back_as_a_list() {
    walk("embed", 10, |case| {
        let model: String = case.value("model");
        let translated = match embed::request(case.raw("request"), &model) {
            Ok(translated) => translated,
            Err(error) => return refused(&error),
        };
        let list = embed::answer(case.raw("answer"), &translated.context).unwrap_or_else(malformed);
        format!(
            r#"{{"body":{},"dropped":{},"list":{list}}}"#,
            compact(&translated.body),
            json!(translated.dropped)
        )
    });
    assert_eq!(embed::embed_path("gemini-embedding-001"), "/models/gemini-embedding-001:batchEmbedContents");
}

/// The assistant's message of a whole answer.
fn message_of(completion: &str) -> String {
    let completion: Value = serde_json::from_str(completion).unwrap();
    completion["choices"][0]["message"].to_string()
}

#[test]
fn an_answer_that_is_sent_back_arrives_as_it_was() {
    let parts = json!([
        { "text": "hm", "thought": true },
        { "text": "I look.", "thoughtSignature": "AAA=" },
        { "functionCall": { "id": "x", "name": "f", "args": { "a": 1 } }, "thoughtSignature": "BBB=" },
        { "functionCall": { "id": "y", "name": "g", "args": {} } }
    ]);
    let body =
        json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": "STOP" }] });
    let answer = gemini::answer(&body.to_string(), &Context::default(), CREATED).unwrap();
    let request = format!(
        r#"{{"messages":[{{"role":"user","content":"?"}},{},{{"role":"tool","tool_call_id":"y","content":"1"}}]}}"#,
        message_of(&answer)
    );
    let translated = gemini::request(&request, "gemini-3-pro-preview", false).unwrap();
    let sent: Value = serde_json::from_str(&translated.body).unwrap();
    assert_eq!(sent["contents"][1], json!({ "role": "model", "parts": parts }));
    assert_eq!(
        sent["contents"][2]["parts"],
        json!([{ "functionResponse": { "id": "y", "name": "g", "response": { "output": "1" } } }])
    );
    assert_eq!(translated.dropped, Vec::<&str>::new());
}

#[test]
fn a_stream_gathers_to_what_the_whole_answer_says() {
    let parts = json!([
        { "text": "hm", "thought": true },
        { "text": "I look." },
        { "executableCode": { "language": "PYTHON", "code": "1" } },
        { "functionCall": { "id": "x", "name": "f", "args": { "a": 1.0 } }, "thoughtSignature": "BBB=" },
        { "functionCall": { "id": "y", "name": "g", "args": {} } },
        { "text": " Wait.", "thoughtSignature": "CCC=" }
    ]);
    let response = |parts: &Value, reason: Option<&str>| {
        let candidate = json!({ "content": { "parts": parts }, "finishReason": reason, "index": 0 });
        let usage = json!({ "promptTokenCount": 3, "candidatesTokenCount": 4 });
        json!({ "candidates": [candidate], "usageMetadata": usage, "responseId": "r" }).to_string()
    };
    let context = Context { choices: 1, model: "m".to_owned() };
    let whole = gemini::answer(&response(&parts, Some("STOP")), &context, CREATED).unwrap();
    let (mut events, mut chunks) = (Events::new(&context, CREATED), Vec::new());
    for part in parts.as_array().unwrap() {
        events.event(b"", response(&json!([part]), None).as_bytes(), &mut chunks).unwrap();
    }
    events.event(b"", response(&json!([]), Some("STOP")).as_bytes(), &mut chunks).unwrap();
    events.finish(&mut chunks);
    let mut completion = Completion::default();
    for chunk in &chunks {
        completion.add(&Chunk::of(chunk).unwrap()).unwrap();
    }
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(value(&completion.to_json()), value(&whole));
}

#[test]
fn a_call_without_an_id_has_the_same_one_each_time_and_no_other_calls_one() {
    let part = json!({ "functionCall": { "name": "f", "args": { "a": 1 } } });
    let body = |response: &str| {
        json!({ "responseId": response, "candidates": [{ "content": { "parts": [part, part] }, "finishReason": "STOP" }] })
            .to_string()
    };
    let ids = |body: &str| {
        let answer = gemini::answer(body, &Context::default(), CREATED).unwrap();
        let message: Value = serde_json::from_str(&message_of(&answer)).unwrap();
        let calls = message["tool_calls"].as_array().unwrap().clone();
        calls.iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (one, other) = (ids(&body("one")), ids(&body("other")));
    assert_eq!(one, ids(&body("one")));
    assert_ne!(one[0], one[1]);
    assert!(one.iter().all(|id| !other.contains(id)));
    // OpenAI takes ids of at most 40 characters.
    assert!(one.iter().all(|id| id.starts_with("call_") && id.len() <= 40));
}

#[test]
fn json_of_two_hundred_levels_is_carried_or_refused() {
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    let request = format!(
        r#"{{"messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{deep}}}}}]}}"#
    );
    assert!(gemini::request(&request, "gemini-2.5-flash", false).unwrap().body.contains(&deep));
    let answer = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{deep}}}}}]}},"finishReason":"STOP"}}]}}"#
    );
    let completion = gemini::answer(&answer, &Context::default(), CREATED).unwrap();
    let message: Value = serde_json::from_str(&message_of(&completion)).unwrap();
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], json!(deep));
    let brackets = "[".repeat(200);
    assert!(gemini::answer(&brackets, &Context::default(), CREATED).is_err());
    assert!(
        Events::new(&Context::default(), CREATED).event(b"", brackets.as_bytes(), &mut Vec::new()).is_err()
    );
}

#[test]
fn finish_tells_the_usage_once() {
    let mut events = Events::new(&Context::default(), CREATED);
    let mut out = Vec::new();
    events.event(b"", br#"{"usageMetadata":{"promptTokenCount":3}}"#, &mut out).unwrap();
    events.finish(&mut out);
    events.finish(&mut out);
    assert_eq!(out.len(), 1);
    let chunk = Chunk::of(&out[0]).unwrap();
    assert!(chunk.choices().is_empty());
    let usage = chunk.usage.map(RawValue::get);
    assert!(usage.unwrap().starts_with(r#"{"prompt_tokens":3,"#));
}

/// JSON that is nearly a request, an answer or an error.
fn nearly() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(
        &[
            "messages",
            "role",
            "user",
            "assistant",
            "tool",
            "system",
            "content",
            "type",
            "text",
            "image_url",
            "url",
            "data:image/png;base64,AAAA",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "{}",
            "tools",
            "candidates",
            "parts",
            "functionCall",
            "args",
            "finishReason",
            "STOP",
            "index",
            "usageMetadata",
            "promptTokenCount",
            "error",
            "details",
            "message",
            "inlineData",
            "mimeType",
            "data",
            "thought",
            "thoughtSignature",
            "promptFeedback",
            "blockReason",
            "id",
            "tool_call_id",
            "extra_content",
            "google",
            "embeddings",
            "values",
            "input",
            "retryDelay",
            "logprobsResult",
            "chosenCandidates",
            "topCandidates",
            "é\"\\",
        ][..],
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// Everything of the protocol, on the same text.
fn everything(text: &str) {
    let context = Context { choices: 2, model: String::new() };
    if let Ok(translated) = gemini::request(text, "gemini-3-flash-preview", true) {
        assert!(serde_json::from_str::<&RawValue>(&translated.body).is_ok(), "{}", translated.body);
    }
    if let Ok(completion) = gemini::answer(text, &context, CREATED) {
        assert!(serde_json::from_str::<&RawValue>(&completion).is_ok(), "{completion}");
    }
    let (mut events, mut chunks) = (Events::new(&context, CREATED), Vec::new());
    for _ in 0..2 {
        let _ = events.event(b"", text.as_bytes(), &mut chunks);
    }
    events.finish(&mut chunks);
    for chunk in chunks {
        assert!(serde_json::from_str::<&RawValue>(&chunk).is_ok() && !chunk.contains('\n'), "{chunk}");
    }
    if let Ok(translated) = embed::request(text, "m") {
        assert!(serde_json::from_str::<&RawValue>(&translated.body).is_ok(), "{}", translated.body);
        let _ = embed::answer(text, &translated.context);
    }
    if let Ok(body) = serde_json::from_str(text) {
        let _ = (gemini::error_fields(&body), gemini::retry_delay(&body));
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_panic_or_broken_json(text in ".{0,200}") {
        everything(&text);
    }

    #[test]
    fn no_json_makes_a_panic_or_broken_json(value in nearly()) {
        everything(&value.to_string());
        everything(&json!({ "messages": [value], "tools": value, "input": value }).to_string());
        everything(&json!({ "messages": [{ "role": "user", "content": [value] }, { "role": "assistant", "tool_calls": [value], "extra_content": value }] }).to_string());
        everything(&json!({ "candidates": [{ "content": { "parts": [value] }, "finishReason": "STOP" }, value], "error": value }).to_string());
        everything(&json!({ "candidates": [{ "content": { "parts": [value] }, "logprobsResult": value, "finishReason": "STOP" }] }).to_string());
    }

    #[test]
    fn no_bytes_of_an_event_make_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Events::new(&Context::default(), CREATED).event(&bytes, &bytes, &mut Vec::new());
    }
}

//! A response and its event stream ("Generating content": `GenerateContentResponse`), and embeddings.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::mock::{
    answer::{Answer, EVENTS, JSON, Kind, Rendered},
    chat::{Chat, Tokens, object_text},
    openai::quoted,
};

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mock) enum As {
    Whole,
    Events,
    /// A stream that was not asked for as events is one array.
    Array,
}

/// The whole answer to a prompt of so many tokens.
pub(in crate::mock) fn answer(chat: &Chat<'_>, prompt: u64, how: As) -> Answer {
    if how == As::Whole {
        return Answer::new(JSON, unary(chat, prompt));
    }
    let (chunks, tokens) = chunks(chat, prompt);
    if how == As::Array {
        let texts: Vec<_> = chunks.into_iter().map(|(_, text)| text).collect();
        return Answer::new(JSON, Rendered::whole(format!("[{}]", texts.join(",\r\n")), tokens));
    }
    let mut out = String::with_capacity(16 * 1024);
    let mut events = Vec::with_capacity(chunks.len());
    for (kind, text) in chunks {
        out.push_str("data: ");
        out.push_str(&text);
        out.push_str("\r\n\r\n");
        events.push((out.len(), kind));
    }
    Answer::new(EVENTS, Rendered { bytes: Bytes::from(out), events: events.into(), tokens })
}

fn unary(chat: &Chat<'_>, prompt: u64) -> Rendered {
    let mut tokens = 0;
    let mut candidates = Vec::new();
    for index in 0..chat.choices {
        let (content, count) = chat.content(index);
        tokens += count;
        let mut parts: Vec<_> =
            content.iter().filter(|text| !text.is_empty()).map(|text| said(text)).collect();
        parts.extend(calls(chat));
        candidates.push(candidate(index, &parts.join(","), Some(finish_reason(chat))));
    }
    let usage = usage(chat, prompt, Some(tokens));
    Rendered::whole(response(chat, &candidates.join(","), &usage), tokens)
}

/// One response for each piece; the last of a candidate says why it ends, the very last what all has cost.
fn chunks(chat: &Chat<'_>, prompt: u64) -> (Vec<(Kind, String)>, u64) {
    let mut chunks = Vec::new();
    let mut tokens = 0;
    let begun = usage(chat, prompt, None);
    for index in 0..chat.choices {
        let (content, count) = chat.content(index);
        tokens += count;
        let text = content.unwrap_or_default();
        let texts = chat.parts(&text).into_iter().map(said);
        for part in texts.chain(calls(chat)) {
            chunks.push((Kind::Token, response(chat, &candidate(index, &part, None), &begun)));
        }
    }
    let usage = usage(chat, prompt, Some(tokens));
    for index in 0..chat.choices {
        let ended = candidate(index, &said(""), Some(finish_reason(chat)));
        chunks.push((Kind::Finish, response(chat, &ended, &usage)));
    }
    (chunks, tokens)
}

fn response(chat: &Chat<'_>, candidates: &str, usage: &str) -> String {
    format!(
        r#"{{"candidates":[{candidates}],"usageMetadata":{usage},"modelVersion":{},"responseId":"{:016x}"}}"#,
        quoted(chat.model),
        chat.id()
    )
}

fn candidate(index: u32, parts: &str, finish: Option<&str>) -> String {
    let finish = finish.map(|reason| format!(r#","finishReason":{}"#, quoted(reason))).unwrap_or_default();
    format!(r#"{{"content":{{"parts":[{parts}],"role":"model"}}{finish},"index":{index}}}"#)
}

fn said(text: &str) -> String {
    format!(r#"{{"text":{}}}"#, quoted(text))
}

/// A call comes whole, also in a stream, and has an id only where a test gives one.
fn calls(chat: &Chat<'_>) -> Vec<String> {
    let part = |call: &crate::mock::shapes::ToolCall| {
        let id = call.id.as_deref().map(|id| format!(r#","id":{}"#, quoted(id))).unwrap_or_default();
        let args = object_text(&call.function.arguments);
        format!(r#"{{"functionCall":{{"name":{},"args":{args}{id}}}}}"#, quoted(&call.function.name))
    };
    chat.calls().iter().map(part).collect()
}

fn finish_reason<'c>(chat: &'c Chat<'_>) -> &'c str {
    match chat.finish_reason() {
        "stop" | "tool_calls" => "STOP",
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        other => other,
    }
}

/// Candidates' tokens are those without the thoughts; OpenAI's completion has both.
fn usage(chat: &Chat<'_>, prompt: u64, completion: Option<u64>) -> String {
    if let Some(usage) = chat.native_usage("promptTokenCount") {
        return usage;
    }
    let t = chat.tokens(Tokens { prompt, completion: completion.unwrap_or(0), ..Tokens::default() });
    let mut usage = json!({ "promptTokenCount": t.prompt, "totalTokenCount": t.prompt });
    if completion.is_some() {
        usage["candidatesTokenCount"] = t.completion.saturating_sub(t.reasoning).into();
        usage["totalTokenCount"] = (t.prompt + t.completion).into();
    }
    if completion.is_some() && t.reasoning > 0 {
        usage["thoughtsTokenCount"] = t.reasoning.into();
    }
    if t.cached > 0 {
        usage["cachedContentTokenCount"] = t.cached.into();
    }
    usage.to_string()
}

/// The vectors of an answer of OpenAI's, for one input or for several.
pub(in crate::mock) fn embedded(vectors: Vec<Vec<f32>>, is_batch: bool) -> Answer {
    let mut values = vectors.into_iter().map(|vector| json!({ "values": vector }));
    let body = match is_batch {
        true => json!({ "embeddings": values.collect::<Vec<_>>() }),
        false => json!({ "embedding": values.next().unwrap_or(Value::Null) }),
    };
    Answer::json(StatusCode::OK, body.to_string())
}

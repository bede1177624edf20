//! OpenAI's wire shapes, rendered as text. Another provider's shapes get a file like this one, and a line in
//! [`upstream`](super::upstream) that says for which paths.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    answer::{Answer, EVENTS, JSON, Kind, Rendered},
    request::ChatAsk,
    shapes::{MockAnswer, ToolCall},
    text,
};

/// Deltas of one answer at most, whatever `chunks` says.
const MAX_CHUNKS: usize = 100_000;
/// A tool call's arguments come in so many deltas.
const ARGUMENT_DELTAS: usize = 4;

/// The time that every answer says it was made at: a fixed one, so that equal seeds give equal bytes.
const CREATED: u64 = 1_767_225_600;

/// What a chat's answer is made of, apart from the usage, which goes with the request.
#[derive(Debug)]
pub(super) struct Chat<'a> {
    pub(super) model: &'a str,
    pub(super) choices: u32,
    /// Of the default texts, and of the id.
    pub(super) seed: u64,
    /// A test's own words, in place of the default text.
    pub(super) said: Option<&'a MockAnswer>,
}

impl Chat<'_> {
    /// A unary answer up to its usage, which [`usage_field`] closes.
    pub(super) fn unary(&self) -> Rendered {
        let mut tokens = 0;
        let mut out = format!(
            r#"{{"id":"{}","object":"chat.completion","created":{CREATED},"model":{},"choices":["#,
            self.id(),
            quoted(self.model)
        );
        for index in 0..self.choices {
            let (content, count) = self.content(index);
            tokens += count;
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                out,
                r#"{comma}{{"index":{index},"message":{{"role":"assistant","content":{},"refusal":null{}}},"logprobs":null,"finish_reason":{}}}"#,
                content.as_deref().map_or_else(|| "null".to_owned(), quoted),
                self.unary_tool_calls(),
                quoted(self.finish_reason()),
            );
        }
        out.push_str(r#"],"system_fingerprint":"fp_mock""#);
        Rendered::whole(out, tokens)
    }

    /// A streamed answer up to its finish reasons; usage and `[DONE]` follow.
    pub(super) fn stream(&self) -> Rendered {
        let mut out = String::with_capacity(16 * 1024);
        let mut events = Vec::new();
        let mut tokens = 0;
        let mut event = |kind: Kind, index: u32, delta: &str, finish: &str| {
            let _ = write!(
                out,
                "data: {}\"choices\":[{{\"index\":{index},\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n",
                self.chunk_head(),
            );
            events.push((out.len(), kind));
        };
        for index in 0..self.choices {
            event(Kind::Role, index, r#"{"role":"assistant","content":"","refusal":null}"#, "null");
        }
        for index in 0..self.choices {
            let (content, count) = self.content(index);
            tokens += count;
            for part in self.parts(content.as_deref().unwrap_or_default()) {
                event(Kind::Token, index, &format!(r#"{{"content":{}}}"#, quoted(part)), "null");
            }
            self.tool_deltas(|delta| event(Kind::Token, index, &delta, "null"));
        }
        for index in 0..self.choices {
            event(Kind::Finish, index, "{}", &quoted(self.finish_reason()));
        }
        Rendered { bytes: out.into(), events: events.into(), tokens }
    }

    fn id(&self) -> String {
        format!("chatcmpl-{:016x}", text::mix(self.seed, 1))
    }

    fn chunk_head(&self) -> String {
        format!(
            r#"{{"id":"{}","object":"chat.completion.chunk","created":{CREATED},"model":{},"system_fingerprint":"fp_mock","#,
            self.id(),
            quoted(self.model)
        )
    }

    /// A choice's text, if it has one, and the tokens of it and its tool calls.
    fn content(&self, index: u32) -> (Option<String>, u64) {
        let Some(said) = self.said else {
            let text = text::sentence(text::mix(self.seed, u64::from(index)));
            let tokens = text::tokens(&text).len() as u64;
            return (Some(text), tokens);
        };
        let content = match &said.content {
            None if said.tool_calls.is_empty() => Some(String::new()),
            content => content.clone(),
        };
        let arguments = said.tool_calls.iter().map(|call| call.function.arguments.len().div_ceil(4));
        let tokens = content.as_deref().map_or(0, |text| text::tokens(text).len()) + arguments.sum::<usize>();
        (content, tokens as u64)
    }

    fn parts<'t>(&self, content: &'t str) -> Vec<&'t str> {
        match self.said.and_then(|said| said.chunks) {
            Some(chunks) => {
                text::split(content, usize::try_from(chunks).unwrap_or(MAX_CHUNKS).min(MAX_CHUNKS))
            }
            None => text::tokens(content),
        }
    }

    fn calls(&self) -> &[ToolCall] {
        self.said.map_or(&[], |said| &said.tool_calls)
    }

    fn finish_reason(&self) -> &str {
        match self.said.and_then(|said| said.finish_reason.as_deref()) {
            Some(reason) => reason,
            None if self.calls().is_empty() => "stop",
            None => "tool_calls",
        }
    }

    fn call_head(&self, at: usize, call: &ToolCall, arguments: &str) -> String {
        let id =
            call.id.clone().unwrap_or_else(|| format!("call_{:016x}", text::mix(self.seed, 100 + at as u64)));
        format!(
            r#""id":{},"type":{},"function":{{"name":{},"arguments":{}}}"#,
            quoted(&id),
            quoted(call.r#type.as_deref().unwrap_or("function")),
            quoted(&call.function.name),
            quoted(arguments)
        )
    }

    fn unary_tool_calls(&self) -> String {
        if self.calls().is_empty() {
            return String::new();
        }
        let whole = |(at, call): (usize, &ToolCall)| {
            format!("{{{}}}", self.call_head(at, call, &call.function.arguments))
        };
        let calls: Vec<_> = self.calls().iter().enumerate().map(whole).collect();
        format!(r#","tool_calls":[{}]"#, calls.join(","))
    }

    fn tool_deltas(&self, mut delta: impl FnMut(String)) {
        for (at, call) in self.calls().iter().enumerate() {
            let index = call.index.map_or(at, |index| index as usize);
            delta(format!(r#"{{"tool_calls":[{{"index":{index},{}}}]}}"#, self.call_head(at, call, "")));
            for part in text::split(&call.function.arguments, ARGUMENT_DELTAS) {
                let part = quoted(part);
                delta(format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{part}}}}}]}}"#));
            }
        }
    }
}

/// A whole chat answer from its rendered part: closes it with the usage and, in a stream, `[DONE]`.
pub(super) fn finish(rendered: Rendered, ask: &ChatAsk<'_>, chat: &Chat<'_>) -> Answer {
    let given = chat.said.and_then(|said| said.usage.as_ref());
    let usage = match given {
        Some(usage) => serde_json::to_string(usage).unwrap_or_default(),
        None => usage_text(ask.prompt().tokens(), rendered.tokens),
    };
    if !ask.streams() {
        let mut answer = Answer::new(JSON, rendered);
        answer.tail.push((Kind::Usage, format!(r#","usage":{usage}}}"#).into()));
        return answer;
    }
    let mut answer = Answer::new(EVENTS, rendered);
    if ask.includes_usage() {
        let event = format!("data: {}\"choices\":[],\"usage\":{usage}}}\n\n", chat.chunk_head());
        answer.tail.push((Kind::Usage, event.into()));
    }
    answer.tail.push((Kind::Done, Bytes::from_static(b"data: [DONE]\n\n")));
    answer
}

fn usage_text(prompt: u64, completion: u64) -> String {
    let total = prompt + completion;
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0}}}}"#
    )
}

/// The error answer that OpenAI gives with this status.
pub(super) fn error(status: StatusCode, message: &str) -> Answer {
    let (kind, code) = match status.as_u16() {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        403 => ("permission_error", None),
        404 => ("invalid_request_error", Some("not_found")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    Answer::json(status, body.to_string())
}

pub(super) fn models() -> Answer {
    let model = |id: &str| json!({ "id": id, "object": "model", "created": CREATED, "owned_by": "mock" });
    let models = ["mock", "mock-large", "mock-embedding"].map(model);
    let body = json!({ "object": "list", "data": models });
    Answer::json(StatusCode::OK, body.to_string())
}

pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

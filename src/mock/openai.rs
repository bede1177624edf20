//! OpenAI's wire shapes, rendered as text.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    answer::{Answer, EVENTS, JSON, Kind, Rendered},
    chat::{ARGUMENT_DELTAS, Chat},
    refusal::Refusal,
    request::ChatAsk,
    shapes::ToolCall,
    text,
};

/// The time that every answer says it was made at: a fixed one, so that equal seeds give equal bytes.
const CREATED: u64 = 1_767_225_600;

impl Chat<'_> {
    /// A unary answer up to its usage, which [`finish`] closes.
    pub(super) fn unary(&self) -> Rendered {
        let mut tokens = 0;
        let mut out = format!(
            r#"{{"id":"{}","object":"chat.completion","created":{CREATED},"model":{},"choices":["#,
            self.chat_id(),
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

    fn chat_id(&self) -> String {
        format!("chatcmpl-{:016x}", self.id())
    }

    fn chunk_head(&self) -> String {
        format!(
            r#"{{"id":"{}","object":"chat.completion.chunk","created":{CREATED},"model":{},"system_fingerprint":"fp_mock","#,
            self.chat_id(),
            quoted(self.model)
        )
    }

    fn call_head(&self, at: usize, call: &ToolCall, arguments: &str) -> String {
        let id = self.call_id(at, call, "call_");
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

/// The answer to a request that is turned away.
pub(super) fn refuse(refusal: &Refusal) -> Answer {
    let invalid = |message: &str, param: Option<&str>, code: Option<&str>| {
        let error =
            json!({ "message": message, "type": "invalid_request_error", "param": param, "code": code });
        Answer::json(StatusCode::BAD_REQUEST, json!({ "error": error }).to_string())
    };
    match refusal {
        Refusal::Status(status) => error(*status, status.canonical_reason().unwrap_or("an error")),
        Refusal::NoSuchPath(path) => error(StatusCode::NOT_FOUND, &format!("Invalid URL ({path})")),
        Refusal::Unreadable(why) => {
            error(StatusCode::BAD_REQUEST, &format!("the body cannot be read: {why}"))
        }
        Refusal::Invalid(wrong) => invalid(&wrong.message, None, None),
        Refusal::TooLong { tokens, most } => {
            let message = format!(
                "This model's maximum context length is {most} tokens. However, your messages resulted in {tokens} \
                 tokens. Please reduce the length of the messages."
            );
            invalid(&message, Some("messages"), Some("context_length_exceeded"))
        }
        Refusal::Prefill => {
            let message = "This model does not support assistant message prefill. \
                           The conversation must end with a user message.";
            invalid(message, Some("messages"), None)
        }
        Refusal::NoKey => error(StatusCode::UNAUTHORIZED, "You didn't provide an API key."),
        Refusal::BadKey => error(StatusCode::UNAUTHORIZED, "Incorrect API key provided."),
        Refusal::Limited { .. } => {
            error(StatusCode::TOO_MANY_REQUESTS, "Rate limit reached, try again later.")
        }
    }
}

/// The event of an error: a test's own body goes out as it is.
pub(super) fn error_event(body: Option<&Value>) -> String {
    let usual = || {
        let message = "The server had an error while processing your request.";
        json!({ "error": { "message": message, "type": "server_error", "param": null, "code": null } })
    };
    format!("data: {}\n\n", body.cloned().unwrap_or_else(usual))
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

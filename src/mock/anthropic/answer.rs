//! A message and its event stream: "Create a Message", "Streaming messages" and "Handling stop reasons".

use std::fmt::Write as _;

use crate::mock::{
    answer::{Answer, EVENTS, JSON, Kind, Rendered},
    chat::{ARGUMENT_DELTAS, Chat, Tokens, object_text},
    openai::quoted,
    text,
};

/// The whole answer to a prompt of so many tokens.
pub(in crate::mock) fn answer(chat: &Chat<'_>, prompt: u64, streams: bool) -> Answer {
    match streams {
        true => Answer::new(EVENTS, stream(chat, prompt)),
        false => Answer::new(JSON, unary(chat, prompt)),
    }
}

fn unary(chat: &Chat<'_>, prompt: u64) -> Rendered {
    let (content, tokens) = chat.content(0);
    let mut blocks: Vec<_> = content
        .filter(|text| !text.is_empty())
        .map(|text| format!(r#"{{"type":"text","text":{}}}"#, quoted(&text)))
        .into_iter()
        .collect();
    blocks.extend(chat.calls().iter().enumerate().map(|(at, call)| {
        format!(
            r#"{{"type":"tool_use","id":{},"name":{},"input":{}}}"#,
            quoted(&chat.call_id(at, call, "toolu_")),
            quoted(&call.function.name),
            object_text(&call.function.arguments)
        )
    }));
    let usage = usage(chat, prompt, Some(tokens));
    let body = format!("{},{}}}", head(chat, &blocks.join(",")), ending(chat, "", &usage));
    Rendered::whole(body, tokens)
}

fn stream(chat: &Chat<'_>, prompt: u64) -> Rendered {
    let mut out = String::with_capacity(16 * 1024);
    let mut events = Vec::new();
    let mut event = |kind: Kind, name: &str, rest: &str| {
        let _ = write!(out, "event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
        events.push((out.len(), kind));
    };
    let (content, tokens) = chat.content(0);
    let begun = usage(chat, prompt, None);
    let message = format!(r#"{},"stop_reason":null,"stop_sequence":null,"usage":{begun}}}"#, head(chat, ""));
    event(Kind::Role, "message_start", &format!(r#","message":{message}"#));
    let mut index = 0;
    if let Some(text) = content.filter(|text| !text.is_empty()) {
        event(Kind::Role, "content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#);
        event(Kind::Role, "ping", "");
        for part in chat.parts(&text) {
            let delta = format!(r#","index":0,"delta":{{"type":"text_delta","text":{}}}"#, quoted(part));
            event(Kind::Token, "content_block_delta", &delta);
        }
        event(Kind::Role, "content_block_stop", r#","index":0"#);
        index = 1;
    }
    for (at, call) in chat.calls().iter().enumerate() {
        let block = format!(
            r#","index":{index},"content_block":{{"type":"tool_use","id":{},"name":{},"input":{{}}}}"#,
            quoted(&chat.call_id(at, call, "toolu_")),
            quoted(&call.function.name),
        );
        event(Kind::Token, "content_block_start", &block);
        for part in text::split(&call.function.arguments, ARGUMENT_DELTAS) {
            let delta = format!(
                r#","index":{index},"delta":{{"type":"input_json_delta","partial_json":{}}}"#,
                quoted(part)
            );
            event(Kind::Token, "content_block_delta", &delta);
        }
        event(Kind::Role, "content_block_stop", &format!(r#","index":{index}"#));
        index += 1;
    }
    // Cumulative: all that the message has cost.
    let usage = usage(chat, prompt, Some(tokens));
    event(Kind::Finish, "message_delta", &format!(r#","delta":{{{}"#, ending(chat, "}", &usage)));
    event(Kind::Done, "message_stop", "");
    Rendered { bytes: out.into(), events: events.into(), tokens }
}

fn head(chat: &Chat<'_>, content: &str) -> String {
    format!(
        r#"{{"id":"msg_{:016x}","type":"message","role":"assistant","model":{},"content":[{content}]"#,
        chat.id(),
        quoted(chat.model)
    )
}

/// The reason why it stopped, what closes the object that it is in, and the usage.
fn ending(chat: &Chat<'_>, close: &str, usage: &str) -> String {
    let reason = match chat.finish_reason() {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        other => other,
    };
    let details = match reason {
        "refusal" => r#","stop_details":{"type":"refusal","category":null,"explanation":null}"#,
        _ => "",
    };
    format!(r#""stop_reason":{},"stop_sequence":null{details}{close},"usage":{usage}"#, quoted(reason))
}

/// Input tokens are those that no cache had; OpenAI's are all. Where the answer only begins there is one token so far.
fn usage(chat: &Chat<'_>, prompt: u64, completion: Option<u64>) -> String {
    if let Some(usage) = chat.native_usage("input_tokens") {
        return usage;
    }
    let t = chat.tokens(Tokens { prompt, completion: completion.unwrap_or(1), ..Tokens::default() });
    let tokens = if completion.is_none() { 1 } else { t.completion };
    let thinking = match t.reasoning {
        0 => String::new(),
        _ if completion.is_none() => String::new(),
        tokens => format!(r#","output_tokens_details":{{"thinking_tokens":{tokens}}}"#),
    };
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{tokens}{thinking},"service_tier":"standard"}}"#,
        t.prompt.saturating_sub(t.cached + t.cache_written),
        t.cache_written,
        t.cached,
    )
}

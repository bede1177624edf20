//! Answers of other protocols in a conversation that goes on with one that speaks OpenAI's.
//!
//! A translated answer has members that OpenAI has not (`docs/protocols/`): they are for the provider that it came from. Many that
//! speak OpenAI's protocol refuse a message with members that they do not know (OpenAI itself by model; Mistral, Groq, Azure
//! always); others made them, and want them back (LiteLLM its `thinking_blocks`, Google's OpenAI endpoint its `extra_content`). So
//! they are taken out only where the client has providers of other protocols too, from which they may be.
//!
//! `reasoning_content` stays: it is a word of OpenAI's protocol by now, and DeepSeek and others refuse to go on without it.

use std::borrow::Cow;

use memchr::memmem;
use serde_json::value::RawValue;

use crate::protocol::json::{Members, quote};

/// Of an assistant's message.
const OF_MESSAGES: [&str; 4] = ["citations", "extra_content", "images", "thinking_blocks"];
/// Of a call in it.
const OF_CALLS: [&str; 1] = ["extra_content"];

/// A request without what other protocols' answers have left in it, and the paths of that; None where there is nothing of it.
pub(in crate::protocol) fn without_foreign(body: &str) -> Option<(String, Vec<Cow<'static, str>>)> {
    // Nearly every conversation has none, and is not read for it.
    if !OF_MESSAGES.iter().any(|name| mentions(body, name)) {
        return None;
    }
    let members = Members::of(body).ok()?;
    let messages: Vec<&RawValue> = members.value("messages")?;
    let (mut dropped, mut changed) = (Vec::new(), false);
    let mut list = String::with_capacity(body.len());
    for (at, message) in messages.iter().enumerate() {
        list.push(if at == 0 { '[' } else { ',' });
        match cleaned(message.get(), at, &mut dropped) {
            Some(other) => {
                list.push_str(&other);
                changed = true;
            }
            None => list.push_str(message.get()),
        }
    }
    list.push(']');
    changed.then(|| (members.with("messages", &list), dropped))
}

/// Whether a name stands in a text, in its quotes.
fn mentions(text: &str, name: &str) -> bool {
    memmem::find_iter(text.as_bytes(), name.as_bytes()).any(|at| {
        let around = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)) == Some(&b'"');
        around(at.checked_sub(1)) && around(Some(at + name.len()))
    })
}

/// A message without it, if it has any.
fn cleaned(raw: &str, at: usize, dropped: &mut Vec<Cow<'static, str>>) -> Option<String> {
    let message = Members::of(raw).ok()?;
    if message.raw("role") != Some(r#""assistant""#) {
        return None;
    }
    let calls: Option<Vec<&RawValue>> = message.value("tool_calls");
    let calls = calls.and_then(|calls| {
        let mut any = false;
        let mut list = Vec::with_capacity(calls.len());
        for (number, call) in calls.iter().enumerate() {
            let other = Members::of(call.get()).ok().and_then(|call| {
                without(&call, &OF_CALLS, |name| {
                    dropped.push(format!("messages[{at}].tool_calls[{number}].{name}").into());
                })
            });
            any |= other.is_some();
            list.push(other.map_or(Cow::Borrowed(call.get()), Cow::Owned));
        }
        any.then(|| format!("[{}]", list.join(",")))
    });
    let with_calls = calls.map(|calls| message.with("tool_calls", &calls));
    let message = with_calls.as_deref().map_or(Some(message), |text| Members::of(text).ok())?;
    let other = without(&message, &OF_MESSAGES, |name| dropped.push(format!("messages[{at}].{name}").into()));
    other.or(with_calls)
}

/// An object without members of these names; None where it has none of them. Nothing is lost, and told, with one that is
/// empty.
fn without(object: &Members<'_>, names: &[&str], mut tell: impl FnMut(&str)) -> Option<String> {
    if !object.iter().any(|(name, _)| names.contains(&name)) {
        return None;
    }
    let mut out = String::from("{");
    for (name, raw) in object.iter() {
        if names.contains(&name) {
            if !matches!(raw, "null" | "[]") {
                tell(name);
            }
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&quote(name));
        out.push(':');
        out.push_str(raw);
    }
    out.push('}');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_protocols_left_in_answers_is_taken_out_and_told() {
        let body = concat!(
            r#"{"model":"m", "messages": [{"role":"user","content":"\"images\"","images":[1]},"#,
            r#"{"role":"assistant","content":"a","thinking_blocks":[{"type":"thinking"}],"citations":[1]},"#,
            r#"{"role":"assistant","content":null, "tool_calls":[{"id":"a","extra_content":{"google":1}},{"id":"b"}]},"#,
            r#"{"role":"assistant","extra_content":{},"content":"b","reasoning_content":"c","x":1.0},"#,
            r#"{"role":"assistant","content":"d","images":null,"citations":[]}],"n":1}"#,
        );
        let (clean, dropped) = without_foreign(body).unwrap();
        assert_eq!(
            clean,
            concat!(
                r#"{"model":"m", "messages": [{"role":"user","content":"\"images\"","images":[1]},"#,
                r#"{"role":"assistant","content":"a"},"#,
                r#"{"role":"assistant","content":null, "tool_calls":[{"id":"a"},{"id":"b"}]},"#,
                r#"{"role":"assistant","content":"b","reasoning_content":"c","x":1.0},"#,
                r#"{"role":"assistant","content":"d"}],"n":1}"#,
            )
        );
        assert_eq!(
            dropped,
            [
                "messages[1].thinking_blocks",
                "messages[1].citations",
                "messages[2].tool_calls[0].extra_content",
                "messages[3].extra_content"
            ]
        );
    }

    #[test]
    fn a_request_without_any_of_it_is_left_alone_whatever_it_says() {
        for body in [
            r#"{"messages":[{"role":"user","content":"images, citations and extra_content"}]}"#,
            r#"{"messages":[{"role":"user","content":"the \"images\""}]}"#,
            r#"{"messages":[{"role":"user","images":[]}]}"#,
            r#"{"messages":"images","images":1}"#,
            r#"{"messages":[1,{"role":"assistant","tool_calls":["images"]},"images"]}"#,
            r#""images""#,
            r#"{"images""#,
        ] {
            assert_eq!(without_foreign(body), None, "{body}");
        }
    }
}

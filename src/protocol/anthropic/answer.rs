//! A whole answer as OpenAI's `chat.completion`.

use serde_json::value::RawValue;

use super::Context;
use super::blocks::{Blocks, Kind, without_trimmed};
use super::usage::{Usage, finish_reason};
use crate::protocol::json::{Members, Text, quote};
use crate::protocol::translate::Malformed;

/// A whole answer as OpenAI's `chat.completion`. `created`: Unix seconds. An error inside is not handled here.
pub fn answer(body: &str, context: &Context, created: u64) -> Result<String, Malformed> {
    let members = Members::of(body).map_err(|_| Malformed("an answer that is no JSON object"))?;
    if members.value::<Text<'_>>("type").is_some_and(|Text(kind)| kind != "message") {
        return Err(Malformed("an answer that is no message"));
    }
    let content: Vec<&RawValue> =
        members.value("content").ok_or(Malformed("an answer without a list of contents"))?;
    let Text(stop_reason) =
        members.value("stop_reason").ok_or(Malformed("an answer without a stop reason"))?;
    let mut usage = Usage::default();
    if let Some(raw) = members.raw("usage").filter(|raw| *raw != "null") {
        usage.merge(raw)?;
    }

    let mut message = Message::default();
    let mut trimmed = context.trimmed.clone();
    for block in content {
        message.add(block.get(), &mut trimmed)?;
    }
    let text = |name: &str| members.raw(name).filter(|raw| raw.starts_with('"')).unwrap_or(r#""""#);
    let mut out = String::with_capacity(body.len() + 512);
    out.push_str(r#"{"id":"#);
    out.push_str(text("id"));
    out.push_str(&format!(r#","object":"chat.completion","created":{created},"model":"#));
    out.push_str(text("model"));
    out.push_str(r#","choices":[{"index":0,"message":"#);
    message.write(explanation(&members), &mut out);
    out.push_str(&format!(
        r#","logprobs":null,"finish_reason":{},"native_finish_reason":{}}}],"usage":{}{}}}"#,
        quote(finish_reason(&stop_reason)),
        quote(&stop_reason),
        usage.to_json(),
        usage.tier_member(),
    ));
    Ok(out)
}

/// What a refusal says of itself, as JSON.
pub(super) fn explanation<'a>(members: &Members<'a>) -> Option<&'a str> {
    let details = Members::of(members.raw("stop_details")?).ok()?;
    details.raw("explanation").filter(|raw| raw.starts_with('"') && *raw != r#""""#)
}

/// What has come of a message. Texts are the insides of JSON strings, joined as they are.
#[derive(Debug, Default)]
struct Message<'a> {
    content: Option<String>,
    reasoning: String,
    calls: String,
    citations: String,
    blocks: Blocks<'a>,
}

impl<'a> Message<'a> {
    fn add(&mut self, raw: &'a str, trimmed: &mut String) -> Result<(), Malformed> {
        let block = Members::of(raw).map_err(|_| Malformed("a block that is no object"))?;
        let Text(name) = block.value("type").ok_or(Malformed("a block without a type"))?;
        let inside = |name: &str| {
            let raw = block.raw(name).filter(|raw| raw.starts_with('"'));
            raw.map(|raw| &raw[1..raw.len() - 1]).ok_or(Malformed("a block without its text"))
        };
        let kind = Kind::of(&name);
        match &*name {
            "text" => {
                let inner = inside("text")?;
                let content = self.content.get_or_insert_default();
                if trimmed.is_empty() {
                    content.push_str(inner);
                } else {
                    let Text(text) = block.value("text").ok_or(Malformed("a block without its text"))?;
                    let quoted = quote(without_trimmed(&text, trimmed));
                    content.push_str(&quoted[1..quoted.len() - 1]);
                }
                for citation in block.value::<Vec<&RawValue>>("citations").unwrap_or_default() {
                    join(&mut self.citations, citation.get());
                }
                // The API takes no empty text back.
                if inner.is_empty() {
                    return Ok(());
                }
            }
            "thinking" => self.reasoning.push_str(inside("thinking")?),
            "tool_use" => {
                inside("id")?;
                inside("name")?;
                let input = block.raw("input").filter(|raw| raw.starts_with('{'));
                let input = input.ok_or(Malformed("a call of a tool without its input"))?;
                join(
                    &mut self.calls,
                    &format!(
                        r#"{{"id":{},"type":"function","function":{{"name":{},"arguments":{}}}}}"#,
                        block.raw("id").unwrap_or_default(),
                        block.raw("name").unwrap_or_default(),
                        quote(input),
                    ),
                );
            }
            _ => {}
        }
        self.blocks.add(kind, raw);
        Ok(())
    }

    fn write(&self, refusal: Option<&str>, out: &mut String) {
        out.push_str(r#"{"role":"assistant","content":"#);
        match &self.content {
            Some(content) => {
                out.push('"');
                out.push_str(content);
                out.push('"');
            }
            None => out.push_str("null"),
        }
        out.push_str(r#","refusal":"#);
        out.push_str(refusal.unwrap_or("null"));
        if !self.reasoning.is_empty() {
            out.push_str(&format!(r#","reasoning_content":"{}""#, self.reasoning));
        }
        for (name, list) in [("tool_calls", &self.calls), ("citations", &self.citations)] {
            if !list.is_empty() {
                out.push_str(&format!(r#","{name}":[{list}]"#));
            }
        }
        if let Some(blocks) = self.blocks.to_json() {
            out.push_str(r#","thinking_blocks":"#);
            out.push_str(&blocks);
        }
        out.push('}');
    }
}

fn join(list: &mut String, item: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(item);
}

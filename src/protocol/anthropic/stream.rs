//! The events of a stream as OpenAI's chunks.
//!
//! `message_start`, then of each block `content_block_start`, `content_block_delta` and `content_block_stop`, then
//! `message_delta` with the end and the tokens, then `message_stop`; `ping` anywhere. Types of events, blocks and deltas that
//! are not known are no error, as the API's versioning policy has it; what comes out of its order is.

use super::Context;
use super::answer::explanation;
use super::blocks::{Blocks, Kind, without_trimmed};
use super::error::named;
use super::usage::{Usage, finish_reason};
use crate::protocol::json::{Members, Text, quote};
use crate::protocol::read::word;
use crate::protocol::translate::{Malformed, Next};

/// An answer has at most this much text: 64 MiB, as one that comes whole.
const MAX_TEXT: usize = 64 * 1024 * 1024;

/// The events of one stream, as OpenAI chunks.
#[derive(Debug)]
pub struct Events {
    created: u64,
    trimmed: String,
    stage: Stage,
    /// What each chunk begins with; known from the first event on.
    head: String,
    open: Option<Open>,
    blocks: Blocks<'static>,
    calls: usize,
    usage: Usage,
    /// What the caller was last told of the usage.
    told: String,
    /// Bytes of what is kept of the blocks.
    size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Before,
    Content,
    /// The stop reason has come.
    Finished,
    Over,
}

/// A block that has begun.
#[derive(Debug)]
struct Open {
    index: u64,
    name: String,
    /// As it began.
    raw: String,
    /// Its text or its thinking: the inside of a JSON string.
    text: String,
    signature: String,
    /// The input of a tool, as far as it has come.
    input: String,
    complete: bool,
}

impl Events {
    pub fn new(context: &Context, created: u64) -> Self {
        Self {
            created,
            trimmed: context.trimmed.clone(),
            stage: Stage::Before,
            head: String::new(),
            open: None,
            blocks: Blocks::default(),
            calls: 0,
            usage: Usage::default(),
            told: String::new(),
            size: 0,
        }
    }

    /// One server-sent event, already framed. Pushes zero or more chunks (JSON texts of one line) to `out`.
    pub fn event(&mut self, name: &[u8], data: &[u8], out: &mut Vec<String>) -> Result<Next, Malformed> {
        if self.stage == Stage::Over {
            return Ok(Next::Done);
        }
        let known = name.is_empty() || name == b"message" || is_known(name);
        let json = std::str::from_utf8(data).map_err(|_| Malformed("an event that is not UTF-8"))?;
        let members = match Members::of(json) {
            Ok(members) => members,
            // Relays end their streams as OpenAI does.
            Err(_) if json == "[DONE]" && self.stage == Stage::Finished => return Ok(self.end(out)),
            Err(_) if known => return Err(Malformed("an event that is no JSON object")),
            Err(_) => return Ok(Next::More),
        };
        let kind = members.raw("type").and_then(word);
        match kind.as_deref().map_or(name, str::as_bytes) {
            b"message_start" => self.start(&members, out)?,
            b"content_block_start" => self.begin(&members, out)?,
            b"content_block_delta" => self.delta(&members, out)?,
            b"content_block_stop" => self.stop(&members, out)?,
            b"message_delta" => self.finish(&members, out)?,
            b"message_stop" if self.stage == Stage::Finished => return Ok(self.end(out)),
            b"message_stop" => return Err(Malformed("an end without a stop reason")),
            b"error" => return Ok(Next::Error(named(json))),
            _ => {}
        }
        Ok(Next::More)
    }

    /// The tokens that it has told of by now; none before the message begins.
    pub fn usage(&self) -> Option<String> {
        (self.stage != Stage::Before).then(|| self.usage.to_json())
    }

    fn start(&mut self, event: &Members<'_>, out: &mut Vec<String>) -> Result<(), Malformed> {
        if self.stage != Stage::Before {
            return Err(Malformed("a second beginning"));
        }
        let message = event.raw("message").and_then(|raw| Members::of(raw).ok());
        let message = message.ok_or(Malformed("a beginning without a message"))?;
        let text = |name: &str| message.raw(name).filter(|raw| raw.starts_with('"')).unwrap_or(r#""""#);
        if let Some(raw) = message.raw("usage").filter(|raw| *raw != "null") {
            self.usage.merge(raw)?;
        }
        self.head = format!(
            r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":{}{},"choices":["#,
            text("id"),
            self.created,
            text("model"),
            self.usage.tier_member(),
        );
        self.stage = Stage::Content;
        self.say(r#"{"role":"assistant"}"#, out);
        Ok(())
    }

    fn begin(&mut self, event: &Members<'_>, out: &mut Vec<String>) -> Result<(), Malformed> {
        if self.stage != Stage::Content {
            return Err(Malformed("a block out of its order"));
        }
        if self.open.is_some() {
            return Err(Malformed("a block within another"));
        }
        let raw = event.raw("content_block").unwrap_or_default();
        let block = Members::of(raw).map_err(|_| Malformed("a block that is no object"))?;
        let name = block.raw("type").and_then(word).ok_or(Malformed("a block without a type"))?;
        self.grow(raw.len())?;
        self.open = Some(Open {
            index: index(event).ok_or(Malformed("a block without an index"))?,
            name: name.to_string(),
            raw: raw.to_owned(),
            text: String::new(),
            signature: String::new(),
            input: String::new(),
            complete: true,
        });
        let inside = |name: &str| block.raw(name).filter(|raw| raw.starts_with('"') && *raw != r#""""#);
        match &*name {
            "text" => self.text(inside("text").unwrap_or(r#""""#), out)?,
            "thinking" => {
                self.thinking(inside("thinking").unwrap_or(r#""""#), out)?;
                self.sign(inside("signature").unwrap_or(r#""""#));
            }
            "tool_use" => {
                let missing = Malformed("a call of a tool without its name or id");
                self.say(
                    &format!(
                        r#"{{"tool_calls":[{{"index":{},"id":{},"type":"function","function":{{"name":{},"arguments":""}}}}]}}"#,
                        self.calls,
                        inside("id").ok_or(missing)?,
                        inside("name").ok_or(missing)?,
                    ),
                    out,
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, event: &Members<'_>, out: &mut Vec<String>) -> Result<(), Malformed> {
        let index = index(event);
        let Some(open) = self.open.as_mut().filter(|open| Some(open.index) == index) else {
            return Err(Malformed("a piece of a block that is not open"));
        };
        let raw = event.raw("delta").unwrap_or_default();
        let delta = Members::of(raw).map_err(|_| Malformed("a piece that is no object"))?;
        let kind = delta.raw("type").and_then(word).ok_or(Malformed("a piece without a type"))?;
        let string = |name: &str| {
            let raw = delta.raw(name).filter(|raw| raw.starts_with('"'));
            raw.ok_or(Malformed("a piece without its text"))
        };
        match (&*kind, &*open.name) {
            ("text_delta", "text") => self.text(string("text")?, out),
            ("thinking_delta", "thinking") => self.thinking(string("thinking")?, out),
            ("signature_delta", "thinking") => {
                let signature = string("signature")?;
                self.grow(signature.len())?;
                self.sign(signature);
                Ok(())
            }
            ("citations_delta", "text") => {
                let citation = delta.raw("citation").ok_or(Malformed("a piece without its text"))?;
                self.say(&format!(r#"{{"citations":[{citation}]}}"#), out);
                Ok(())
            }
            ("input_json_delta", name) => {
                let is_call = name == "tool_use";
                let raw = string("partial_json")?;
                let Text(piece) = serde_json::from_str(raw)
                    .map_err(|_| Malformed("a piece of input that is not Unicode"))?;
                open.input.push_str(&piece);
                self.grow(raw.len())?;
                if is_call && !piece.is_empty() {
                    self.arguments(raw, out);
                }
                Ok(())
            }
            ("text_delta" | "thinking_delta" | "signature_delta" | "citations_delta", _) => {
                Err(Malformed("a piece of another kind than its block"))
            }
            _ => {
                open.complete = false;
                Ok(())
            }
        }
    }

    fn stop(&mut self, event: &Members<'_>, out: &mut Vec<String>) -> Result<(), Malformed> {
        let index = index(event);
        let Some(open) = self.open.take_if(|open| Some(open.index) == index) else {
            return Err(Malformed("the end of a block that is not open"));
        };
        self.close(open, out);
        Ok(())
    }

    /// Ends a block: what is left of it is said, and it is kept to be sent back.
    fn close(&mut self, open: Open, out: &mut Vec<String>) {
        let kind = Kind::of(&open.name);
        let began = Members::of(&open.raw).ok();
        if kind == Kind::Call {
            if open.input.is_empty() {
                // A tool without parameters, or a server that sends the input at once.
                let input = began.as_ref().and_then(|block| block.raw("input")).unwrap_or("{}");
                self.arguments(&quote(input), out);
            }
            self.calls += 1;
        }
        let raw = match &*open.name {
            "text" if open.text.is_empty() => return,
            "text" => format!(r#"{{"type":"text","text":"{}"}}"#, open.text),
            "thinking" => format!(
                r#"{{"type":"thinking","thinking":"{}","signature":"{}"}}"#,
                open.text, open.signature
            ),
            _ if open.input.is_empty() => open.raw,
            _ => match began.filter(|_| Members::of(&open.input).is_ok()) {
                Some(block) => block.with("input", &open.input),
                None => return self.blocks.miss(),
            },
        };
        if open.complete {
            self.blocks.add(kind, raw);
        } else {
            self.blocks.miss();
        }
    }

    fn finish(&mut self, event: &Members<'_>, out: &mut Vec<String>) -> Result<(), Malformed> {
        if self.stage == Stage::Before {
            return Err(Malformed("an end before the beginning"));
        }
        if let Some(raw) = event.raw("usage").filter(|raw| *raw != "null") {
            self.usage.merge(raw)?;
        }
        let delta = event.raw("delta").and_then(|raw| Members::of(raw).ok());
        let delta = delta.ok_or(Malformed("an end that is no object"))?;
        if let Some(Text(stop_reason)) = delta.value("stop_reason")
            && self.stage == Stage::Content
        {
            self.stage = Stage::Finished;
            if let Some(open) = self.open.take() {
                self.close(open, out);
            }
            if let Some(refusal) = explanation(&delta) {
                self.say_member("refusal", refusal, out);
            }
            if let Some(blocks) = std::mem::take(&mut self.blocks).to_json() {
                self.say_member("thinking_blocks", &blocks, out);
            }
            let end = format!(
                r#"{{"index":0,"delta":{{}},"finish_reason":{},"native_finish_reason":{}}}]}}"#,
                quote(finish_reason(&stop_reason)),
                quote(&stop_reason),
            );
            self.push(&[&end], out);
        }
        if self.stage == Stage::Finished {
            self.tell_usage(out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<String>) -> Next {
        self.tell_usage(out);
        self.stage = Stage::Over;
        Next::Done
    }

    /// The usage goes out with the end, and not only with the last event, which may be lost; and again if it has changed.
    fn tell_usage(&mut self, out: &mut Vec<String>) {
        let usage = self.usage.to_json();
        if usage != self.told {
            self.push(&[r#"],"usage":"#, &usage, "}"], out);
            self.told = usage;
        }
    }

    /// `raw`: a JSON string.
    fn text(&mut self, raw: &str, out: &mut Vec<String>) -> Result<(), Malformed> {
        self.grow(raw.len())?;
        if let Some(open) = &mut self.open {
            open.text.push_str(&raw[1..raw.len() - 1]);
        }
        if raw == r#""""# {
            return Ok(());
        }
        if self.trimmed.is_empty() {
            self.say_member("content", raw, out);
            return Ok(());
        }
        let Text(text) = serde_json::from_str(raw).map_err(|_| Malformed("a text that is not Unicode"))?;
        let rest = without_trimmed(&text, &mut self.trimmed);
        if !rest.is_empty() {
            self.say_member("content", &quote(rest), out);
        }
        Ok(())
    }

    /// `raw`: a JSON string.
    fn thinking(&mut self, raw: &str, out: &mut Vec<String>) -> Result<(), Malformed> {
        self.grow(raw.len())?;
        if let Some(open) = &mut self.open {
            open.text.push_str(&raw[1..raw.len() - 1]);
        }
        if raw != r#""""# {
            self.say_member("reasoning_content", raw, out);
        }
        Ok(())
    }

    /// `raw`: a JSON string.
    fn sign(&mut self, raw: &str) {
        if let Some(open) = &mut self.open {
            open.signature.push_str(&raw[1..raw.len() - 1]);
        }
    }

    /// `raw`: a JSON string, a piece of the arguments of the call that is open.
    fn arguments(&self, raw: &str, out: &mut Vec<String>) {
        let index = self.calls;
        self.say(&format!(r#"{{"tool_calls":[{{"index":{index},"function":{{"arguments":{raw}}}}}]}}"#), out);
    }

    fn say(&self, delta: &str, out: &mut Vec<String>) {
        self.push(&[r#"{"index":0,"delta":"#, delta, r#","finish_reason":null}]}"#], out);
    }

    /// A delta of one member. `raw`: its value.
    fn say_member(&self, name: &str, raw: &str, out: &mut Vec<String>) {
        let pieces = [r#"{"index":0,"delta":{""#, name, r#"":"#, raw, r#"},"finish_reason":null}]}"#];
        self.push(&pieces, out);
    }

    /// A chunk of what follows its head. What a provider broke into lines between the tokens of JSON comes out as one.
    fn push(&self, pieces: &[&str], out: &mut Vec<String>) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut chunk = String::with_capacity(self.head.len() + length);
        chunk.push_str(&self.head);
        pieces.iter().for_each(|piece| chunk.push_str(piece));
        if memchr::memchr2(b'\n', b'\r', chunk.as_bytes()).is_some() {
            chunk = chunk.replace(['\n', '\r'], " ");
        }
        out.push(chunk);
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.size += bytes;
        if self.size > MAX_TEXT { Err(Malformed("an answer of more than 64 MiB")) } else { Ok(()) }
    }
}

fn index(event: &Members<'_>) -> Option<u64> {
    event.raw("index")?.parse().ok()
}

fn is_known(name: &[u8]) -> bool {
    matches!(
        name,
        b"message_start"
            | b"content_block_start"
            | b"content_block_delta"
            | b"content_block_stop"
            | b"message_delta"
            | b"message_stop"
            | b"error"
    )
}

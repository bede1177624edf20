//! Messages, as Gemini's contents and its one system instruction.
//!
//! Gemini wants the results of calls in one content right after the calls, so results in a row are joined, and so are other
//! messages of one role in a row.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::NAME;
use super::config::insists_on_signatures;
use super::{media, write};
use crate::protocol::json::inside;
use crate::protocol::json::quote;
use crate::protocol::read::{At, Object, items, objects, string, text};
use crate::protocol::translate::Inexpressible;

/// What Google documents for calls whose signature is unknown, because another model made them.
const NO_SIGNATURE: &str = "\"skip_thought_signature_validator\"";

type Dropped = Vec<Cow<'static, str>>;

/// Writes `systemInstruction` and `contents`.
pub(super) fn write(
    root: &Object<'_>,
    model: &str,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let at = At::Member(&At::Root, "messages");
    let raw = root.raw("messages");
    if !raw.starts_with('[') {
        return Err(at.must_be("an array of messages", raw));
    }
    let messages = objects(raw, &at)?;
    let own = root.get("systemInstruction").or_else(|| root.get("system_instruction"));
    let mut contents = Contents {
        out: String::with_capacity(raw.len() + 256),
        system: String::new(),
        turn: None,
        calls: Vec::new(),
        signed: !insists_on_signatures(model),
    };
    for (number, message) in messages.iter().enumerate() {
        contents.message(message, &at.item(number), dropped)?;
    }
    if contents.turn.is_none() {
        return Err(at.wrong("must have a message that is no instruction: Gemini needs something to answer"));
    }
    contents.out.push_str("]}");
    match own {
        Some(_) if !contents.system.is_empty() => {
            let at = At::Member(&At::Root, "systemInstruction");
            return Err(at.wrong("must not be given beside system messages"));
        }
        Some(raw) => write::member(out, "systemInstruction", raw),
        None if contents.system.is_empty() => {}
        None => write::member(out, "systemInstruction", &format!("{{\"parts\":[{}]}}", contents.system)),
    }
    write::name(out, "contents");
    out.push('[');
    out.push_str(&contents.out);
    out.push(']');
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    User,
    Model,
    Results,
}

struct Contents<'a> {
    /// The contents; the last one's parts are open.
    out: String,
    /// The parts of the instruction.
    system: String,
    turn: Option<Turn>,
    /// Calls so far: id, and the name as it stands.
    calls: Vec<(Cow<'a, str>, &'a str)>,
    /// Whether calls may go without a signature.
    signed: bool,
}

impl<'a> Contents<'a> {
    fn message(
        &mut self,
        message: &Object<'a>,
        at: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let role_at = at.member("role");
        let role = match message.get("role") {
            Some(raw) => text(raw, &role_at)?,
            None => return Err(role_at.must_be("a role", message.raw("role"))),
        };
        match &*role {
            "system" | "developer" => {
                message.drop_unknown(&["role", "content"], at, dropped);
                let mut system = std::mem::take(&mut self.system);
                let written = content(message, at, &mut system, dropped, Takes::Text);
                self.system = system;
                written
            }
            "user" => {
                message.drop_unknown(&["role", "content"], at, dropped);
                let mut parts = String::with_capacity(message.raw("content").len() + 32);
                content(message, at, &mut parts, dropped, Takes::Anything)?;
                self.say(Turn::User, &parts);
                Ok(())
            }
            "assistant" => self.assistant(message, at, dropped),
            "tool" => self.result(message, at, dropped),
            "function" => Err(role_at.cannot(NAME, "calls without an id; use a message of role tool")),
            other => Err(role_at.wrong(format!(
                "must be system, developer, user, assistant or tool, got {}",
                quote(&other.chars().take(32).collect::<String>())
            ))),
        }
    }

    /// Begins a content unless one of this kind is open.
    fn open(&mut self, turn: Turn) {
        if self.turn == Some(turn) {
            return;
        }
        if self.turn.is_some() {
            self.out.push_str("]},");
        }
        self.turn = Some(turn);
        let role = if turn == Turn::Model { "model" } else { "user" };
        self.out.push_str("{\"role\":\"");
        self.out.push_str(role);
        self.out.push_str("\",\"parts\":[");
    }

    fn assistant(
        &mut self,
        message: &Object<'a>,
        at: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        const KNOWN: [&str; 10] = [
            "role",
            "content",
            "refusal",
            "reasoning_content",
            "reasoning",
            "tool_calls",
            "images",
            "extra_content",
            "function_call",
            "audio",
        ];
        message.drop_unknown(&KNOWN, at, dropped);
        if message.get("function_call").is_some() {
            return Err(at.member("function_call").cannot(NAME, "calls without an id; use tool_calls"));
        }
        if message.get("audio").is_some() {
            return Err(at.member("audio").cannot(NAME, "audio of an answer that OpenAI keeps"));
        }
        let extra = Extra::of(message, at)?;
        let mut parts = String::new();
        let thought = message.get("reasoning_content").map(|raw| (raw, "reasoning_content"));
        if let Some((raw, name)) = thought.or_else(|| message.get("reasoning").map(|raw| (raw, "reasoning")))
            && string(raw, &at.member(name))? != "\"\""
        {
            parts.push_str("{\"text\":");
            parts.push_str(raw);
            parts.push_str(",\"thought\":true}");
        }
        let thoughts = parts.len();
        match message.raw("content") {
            "" | "null" | "\"\"" => {}
            _ => content(message, at, &mut parts, dropped, Takes::Text)?,
        }
        if let Some(refusal) = message.get("refusal") {
            part(&mut parts, string(refusal, &at.member("refusal"))?);
        }
        if let Some(raw) = message.get("images") {
            let images_at = at.member("images");
            for (number, image) in objects(raw, &images_at)?.iter().enumerate() {
                media::image(image, &images_at.item(number), &mut parts, dropped)?;
            }
        }
        if let Some(raw) = extra.parts {
            let parts_at = at.member("extra_content.google.parts");
            for (number, item) in items(raw, "an array of parts", &parts_at)?.iter().enumerate() {
                if !item.starts_with('{') {
                    return Err(parts_at.item(number).must_be("a part", item));
                }
                write::comma(&mut parts);
                parts.push_str(item);
            }
        }
        if let Some(signature) = extra.signature {
            // It belongs to the last part that is no thought; without one it came on an empty text.
            if parts.len() == thoughts {
                part(&mut parts, "\"\"");
            }
            parts.pop();
            write::member(&mut parts, "thoughtSignature", signature);
            parts.push('}');
        }
        if let Some(raw) = message.get("tool_calls") {
            self.calls(raw, &at.member("tool_calls"), &mut parts, dropped)?;
        }
        self.say(Turn::Model, &parts);
        Ok(())
    }

    /// Who says nothing has no turn: Gemini wants parts that have something.
    fn say(&mut self, turn: Turn, parts: &str) {
        if !parts.is_empty() {
            self.open(turn);
            write::comma(&mut self.out);
            self.out.push_str(parts);
        }
    }

    fn calls(
        &mut self,
        raw: &'a str,
        at: &At<'_>,
        out: &mut String,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let calls = objects(raw, at)?;
        let mut signatures = Vec::with_capacity(calls.len());
        for (number, call) in calls.iter().enumerate() {
            signatures.push(Extra::of(call, &at.item(number))?.signature);
        }
        // Of calls made together only the first is signed.
        if !self.signed && signatures.iter().all(Option::is_none) && !signatures.is_empty() {
            signatures[0] = Some(NO_SIGNATURE);
        }
        for (number, (call, signature)) in calls.iter().zip(signatures).enumerate() {
            let at = at.item(number);
            call.drop_unknown(&["id", "type", "function", "index", "extra_content"], &at, dropped);
            if call.text("type", &at)?.is_some_and(|kind| kind != "function") {
                return Err(at.member("type").cannot(NAME, "calls of other tools than functions"));
            }
            let function_at = at.member("function");
            let Some(function) = call.object("function", &at)? else {
                return Err(function_at.must_be("an object", call.raw("function")));
            };
            function.drop_unknown(&["name", "arguments"], &function_at, dropped);
            let name = string(function.raw("name"), &function_at.member("name"))?;
            let arguments_at = function_at.member("arguments");
            let arguments = function.text("arguments", &function_at)?.unwrap_or_default();
            let arguments = match arguments.trim() {
                "" => "{}",
                text if is_object(text) => text,
                _ => return Err(arguments_at.wrong("must be the JSON text of an object")),
            };
            write::comma(out);
            out.push_str("{\"functionCall\":{");
            if let Some(raw) = call.get("id") {
                self.calls.push((text(raw, &at.member("id"))?, name));
                write::member(out, "id", raw);
            }
            write::member(out, "name", name);
            write::member(out, "args", arguments);
            out.push('}');
            if let Some(signature) = signature {
                write::member(out, "thoughtSignature", signature);
            }
            out.push('}');
        }
        Ok(())
    }

    /// A call's result. Gemini wants an object: one that is none is its `output`.
    fn result(
        &mut self,
        message: &Object<'a>,
        at: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        message.drop_unknown(&["role", "content", "tool_call_id", "name"], at, dropped);
        let id_at = at.member("tool_call_id");
        let raw_id = string(message.raw("tool_call_id"), &id_at)?;
        let id = text(raw_id, &id_at)?;
        let name = match self.calls.iter().rev().find(|(have, _)| *have == id) {
            Some((_, name)) => name,
            None => match message.get("name") {
                Some(name) => string(name, &at.member("name"))?,
                None => return Err(id_at.wrong("must be the id of a call before it")),
            },
        };
        let content_at = at.member("content");
        let raw = message.raw("content");
        let joined;
        let output = if raw.starts_with('[') {
            let mut texts = String::from("\"");
            for (number, part) in objects(raw, &content_at)?.iter().enumerate() {
                let at = content_at.item(number);
                texts.push_str(inside(text_of(part, &at, dropped)?));
            }
            texts.push('"');
            joined = texts;
            &joined
        } else {
            string(raw, &content_at)?
        };
        let plain = text(output, &content_at)?;
        self.open(Turn::Results);
        write::comma(&mut self.out);
        self.out.push_str("{\"functionResponse\":{");
        write::member(&mut self.out, "id", raw_id);
        write::member(&mut self.out, "name", name);
        write::name(&mut self.out, "response");
        let trimmed = plain.trim();
        if is_object(trimmed) {
            self.out.push_str(trimmed);
        } else {
            self.out.push_str("{\"output\":");
            self.out.push_str(output);
            self.out.push('}');
        }
        self.out.push_str("}}");
        Ok(())
    }
}

/// Whether a text is a JSON object.
fn is_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// What an answer of ours left in `extra_content.google` to be sent back.
#[derive(Default)]
struct Extra<'a> {
    signature: Option<&'a str>,
    parts: Option<&'a str>,
}

impl<'a> Extra<'a> {
    fn of(object: &Object<'a>, at: &At<'_>) -> Result<Self, Inexpressible> {
        let Some(extra) = object.object("extra_content", at)? else { return Ok(Self::default()) };
        let at = at.member("extra_content");
        let Some(google) = extra.object("google", &at)? else { return Ok(Self::default()) };
        let at = at.member("google");
        let signature = google.get("thought_signature");
        if let Some(raw) = signature {
            string(raw, &at.member("thought_signature"))?;
        }
        Ok(Self { signature, parts: google.get("parts") })
    }
}

/// What the content of a message may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Anything,
}

/// Writes a message's content as parts.
fn content(
    message: &Object<'_>,
    at: &At<'_>,
    out: &mut String,
    dropped: &mut Dropped,
    takes: Takes,
) -> Result<(), Inexpressible> {
    let at = at.member("content");
    let raw = message.raw("content");
    if raw.starts_with('"') {
        unless_empty(out, raw);
        return Ok(());
    }
    if !raw.starts_with('[') {
        return Err(at.must_be("a string or an array of parts", raw));
    }
    let parts = objects(raw, &at)?;
    if parts.is_empty() {
        return Err(at.wrong("must have at least one part"));
    }
    for (number, each) in parts.iter().enumerate() {
        let at = at.item(number);
        if takes == Takes::Text || matches!(each.raw("type"), "\"text\"" | "\"refusal\"") {
            unless_empty(out, text_of(each, &at, dropped)?);
        } else {
            media::write(each, &at, out, dropped)?;
        }
    }
    Ok(())
}

/// The text of a part that has to be one, as it stands.
fn text_of<'a>(part: &Object<'a>, at: &At<'_>, dropped: &mut Dropped) -> Result<&'a str, Inexpressible> {
    let name = match part.raw("type") {
        "\"text\"" => "text",
        "\"refusal\"" => "refusal",
        other if !other.starts_with('"') => return Err(at.member("type").must_be("a type of part", other)),
        _ => return Err(at.member("type").cannot(NAME, "anything but text in a message of this role")),
    };
    part.drop_unknown(&["type", name], at, dropped);
    string(part.raw(name), &at.member(name))
}

/// Gemini refuses an empty text, which says nothing.
fn unless_empty(out: &mut String, string: &str) {
    if string != r#""""# {
        part(out, string);
    }
}

fn part(out: &mut String, string: &str) {
    write::comma(out);
    out.push_str("{\"text\":");
    out.push_str(string);
    out.push('}');
}

//! What the parts of an answer say, in OpenAI's words: the members of a message or of a delta.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::value::RawValue;

use super::shape::{Candidate, FunctionCall, Logprobs, Part, Token};
use super::write;
use crate::protocol::json::inside;
use crate::protocol::json::quote;
use crate::protocol::read::{At, Object};
use crate::protocol::translate::Malformed;

/// What came of one candidate. Texts are JSON strings without their quotes, as they stood.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    thought: String,
    text: Option<String>,
    calls: Vec<Call<'a>>,
    /// Data URLs.
    images: Vec<String>,
    /// Parts that OpenAI has no name for.
    pub(super) others: Vec<&'a str>,
    /// The signature that came with anything but a call.
    pub(super) signature: Option<&'a str>,
}

#[derive(Debug)]
struct Call<'a> {
    call: FunctionCall<'a>,
    signature: Option<&'a str>,
}

/// Where a call stands: what its id is made of where Gemini gave it none.
pub(super) struct Place<'p> {
    pub(super) response: &'p str,
    pub(super) candidate: usize,
    /// How many calls the candidate made before.
    pub(super) calls: usize,
}

impl<'a> Said<'a> {
    pub(super) fn of(candidate: &Candidate<'a>) -> Result<Self, Malformed> {
        let mut said = Self::default();
        for raw in candidate.parts() {
            said.part(raw)?;
        }
        Ok(said)
    }

    fn part(&mut self, raw: &'a RawValue) -> Result<(), Malformed> {
        let no_part = Malformed("a part that is none");
        if !raw.get().starts_with('{') {
            return Err(no_part);
        }
        let part: Part<'a> = serde_json::from_str(raw.get()).map_err(|_| no_part)?;
        let signature = part.thought_signature.map(RawValue::get);
        if signature.is_some_and(|signature| !signature.starts_with('"')) {
            return Err(no_part);
        }
        if let Some(call) = part.function_call {
            if call.name.is_none() {
                return Err(Malformed("a function call without a name"));
            }
            if call.args.is_some_and(|args| !args.get().starts_with('{')) {
                return Err(Malformed("a function call whose arguments are no object"));
            }
            self.calls.push(Call { call, signature });
            return Ok(());
        }
        if let Some(text) = part.text {
            self.signature = signature.or(self.signature);
            if !text.get().starts_with('"') {
                return Err(no_part);
            }
            let text = inside(text.get());
            if part.thought == Some(true) {
                self.thought.push_str(text);
            } else {
                self.text.get_or_insert_default().push_str(text);
            }
            return Ok(());
        }
        if part.thought == Some(true) {
            // A draft of an image: no answer, and nothing but its signature has to be sent back.
            self.signature = signature.or(self.signature);
            return Ok(());
        }
        if let Some(data) = &part.inline_data
            && let (Some(mime), Some(data)) = (&data.mime_type, &data.data)
            && mime.0.starts_with("image/")
        {
            self.signature = signature.or(self.signature);
            self.images.push(format!("data:{};base64,{}", mime.0, data.0));
            return Ok(());
        }
        let members = Object::of(raw.get(), &At::Root).map_err(|_| no_part)?;
        if members.members().any(|(name, _)| !matches!(name, "thought" | "thoughtSignature")) {
            // Its signature stays in it.
            self.others.push(raw.get());
        } else {
            self.signature = signature.or(self.signature);
        }
        Ok(())
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The members of a message that come from its parts.
    pub(super) fn write_message(&self, place: &Place<'_>, out: &mut String) {
        write::name(out, "content");
        match &self.text {
            Some(text) => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            None => out.push_str("null"),
        }
        write::member(out, "refusal", "null");
        self.write_thought(out);
        self.write_rest(place, false, out);
    }

    /// The members of a delta; none where nothing is said.
    pub(super) fn write_delta(&self, place: &Place<'_>, out: &mut String) {
        self.write_thought(out);
        if let Some(text) = self.text.as_ref().filter(|text| !text.is_empty()) {
            write::name(out, "content");
            out.push('"');
            out.push_str(text);
            out.push('"');
        }
        self.write_rest(place, true, out);
    }

    fn write_thought(&self, out: &mut String) {
        if !self.thought.is_empty() {
            write::name(out, "reasoning_content");
            out.push('"');
            out.push_str(&self.thought);
            out.push('"');
        }
    }

    fn write_rest(&self, place: &Place<'_>, delta: bool, out: &mut String) {
        if !self.calls.is_empty() {
            write::name(out, "tool_calls");
            out.push('[');
            for (number, call) in self.calls.iter().enumerate() {
                let ordinal = place.calls + number;
                write::comma(out);
                out.push('{');
                if delta {
                    write::member(out, "index", &ordinal.to_string());
                }
                call.write(place, ordinal, out);
                out.push('}');
            }
            out.push(']');
        }
        if !self.images.is_empty() {
            write::name(out, "images");
            out.push('[');
            for (number, url) in self.images.iter().enumerate() {
                write::comma(out);
                out.push('{');
                if delta {
                    write::member(out, "index", &number.to_string());
                }
                write::member(out, "type", "\"image_url\"");
                write::member(out, "image_url", &format!("{{\"url\":{}}}", quote(url)));
                out.push('}');
            }
            out.push(']');
        }
    }
}

impl Call<'_> {
    fn write(&self, place: &Place<'_>, ordinal: usize, out: &mut String) {
        let name = self.call.name.as_ref().map_or("", |name| &*name.0);
        let mut arguments = String::new();
        match self.call.args {
            Some(args) => write::compact(&mut arguments, args.get()),
            None => arguments.push_str("{}"),
        }
        write::name(out, "id");
        match self.call.id.as_ref().filter(|id| !id.0.is_empty()) {
            Some(id) => out.push_str(&quote(&id.0)),
            None => {
                let mut hasher = DefaultHasher::new();
                (place.response, place.candidate, ordinal, name, &arguments).hash(&mut hasher);
                out.push_str(&format!("\"call_{:016x}\"", hasher.finish()));
            }
        }
        write::member(out, "type", "\"function\"");
        write::name(out, "function");
        out.push('{');
        write::text_member(out, "name", name);
        write::text_member(out, "arguments", &arguments);
        out.push('}');
        if let Some(signature) = self.signature {
            write::member(
                out,
                "extra_content",
                &format!("{{\"google\":{{\"thought_signature\":{signature}}}}}"),
            );
        }
    }
}

/// What a message has for Gemini alone.
#[derive(Debug, Default)]
pub(super) struct Extra {
    signature: Option<String>,
    /// Raw parts, separated by commas.
    parts: String,
    metadata: [Option<String>; 3],
}

const METADATA: [&str; 3] = ["grounding_metadata", "url_context_metadata", "citation_metadata"];

impl Extra {
    /// Takes in what one more event says; of metadata and signatures the last one counts.
    pub(super) fn add(&mut self, candidate: &Candidate<'_>, said: &Said<'_>) {
        if let Some(signature) = said.signature {
            self.signature = Some(signature.to_owned());
        }
        for part in &said.others {
            if !self.parts.is_empty() {
                self.parts.push(',');
            }
            write::compact(&mut self.parts, part);
        }
        let given =
            [candidate.grounding_metadata, candidate.url_context_metadata, candidate.citation_metadata];
        for (have, given) in self.metadata.iter_mut().zip(given) {
            if let Some(given) = given.map(RawValue::get).filter(|given| *given != "{}") {
                let mut text = String::with_capacity(given.len());
                write::compact(&mut text, given);
                *have = Some(text);
            }
        }
    }

    /// Bytes that are held.
    pub(super) fn size(&self) -> usize {
        let metadata = self.metadata.iter().flatten().map(String::len).sum::<usize>();
        self.parts.len() + metadata + self.signature.as_ref().map_or(0, String::len)
    }

    /// Writes `extra_content` where there is any.
    pub(super) fn write(&self, out: &mut String) {
        if self.size() == 0 {
            return;
        }
        let mut google = String::from("{");
        if let Some(signature) = &self.signature {
            write::member(&mut google, "thought_signature", signature);
        }
        if !self.parts.is_empty() {
            write::member(&mut google, "parts", &format!("[{}]", self.parts));
        }
        for (name, raw) in METADATA.iter().zip(&self.metadata) {
            if let Some(raw) = raw {
                write::member(&mut google, name, raw);
            }
        }
        google.push('}');
        write::member(out, "extra_content", &format!("{{\"google\":{google}}}"));
    }
}

/// OpenAI's `logprobs` of a choice.
pub(super) fn logprobs(result: Option<&Logprobs<'_>>) -> String {
    let Some(chosen) = result.and_then(|result| result.chosen_candidates.as_ref()) else {
        return "null".to_owned();
    };
    let tops = result.and_then(|result| result.top_candidates.as_deref()).unwrap_or_default();
    let mut out = String::from("{\"content\":[");
    for (number, chosen) in chosen.iter().enumerate() {
        write::comma(&mut out);
        token(chosen, &mut out);
        write::name(&mut out, "top_logprobs");
        out.push('[');
        let top = tops.get(number).and_then(|top| top.candidates.as_deref()).unwrap_or_default();
        for candidate in top {
            write::comma(&mut out);
            token(candidate, &mut out);
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push_str("],\"refusal\":null}");
    out
}

/// Writes a token, its object left open.
fn token(token: &Token<'_>, out: &mut String) {
    let text = token.token.as_ref().map_or("", |text| &*text.0);
    let bytes: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    out.push('{');
    write::text_member(out, "token", text);
    let probability = token.log_probability.map(RawValue::get);
    let is_number = |raw: &&str| raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    // Protocol buffers leave a zero out.
    write::member(out, "logprob", probability.filter(is_number).unwrap_or("0"));
    write::member(out, "bytes", &format!("[{}]", bytes.join(",")));
}

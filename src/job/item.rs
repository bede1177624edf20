//! A line as what it asks for: OpenAI's batch format.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lines::LONGEST;
use crate::client::Endpoint;
use crate::protocol::json::Text;

/// What one line asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// In the input, from 1 on.
    pub line: u64,
    pub custom_id: Box<str>,
    pub endpoint: Endpoint,
    /// JSON.
    pub body: String,
}

/// A line that asks for nothing that could be sent, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    pub line: u64,
    /// Where it has one.
    pub custom_id: Option<Box<str>>,
    /// As in the file of errors.
    pub code: &'static str,
    pub message: String,
}

/// Says what is wrong with a model, where something is.
pub type CheckModel = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A line that is read and not yet held.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) custom_id: Cow<'a, str>,
    pub(super) endpoint: Endpoint,
    pub(super) body: &'a str,
}

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const EMBEDDINGS: &str = "/v1/embeddings";
const LONGEST_ID: usize = 512;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
}

/// What is wrong, before it is known where.
struct Wrong(&'static str, String);

impl<'a> Asked<'a> {
    pub(super) fn of(line: u64, text: &'a [u8], check_model: &CheckModel) -> Result<Self, BadLine> {
        let mut custom_id = None;
        Self::read(text, check_model, &mut custom_id).map_err(|Wrong(code, message)| {
            let message = format!("line {line}: {message}");
            BadLine { line, custom_id: custom_id.map(Into::into), code, message }
        })
    }

    /// `id` is what is known where the rest is wrong.
    fn read(text: &'a [u8], check_model: &CheckModel, id: &mut Option<Cow<'a, str>>) -> Result<Self, Wrong> {
        let not_json = |column| Wrong("invalid_json", format!("is no JSON object, seen at column {column}"));
        let text = std::str::from_utf8(text).map_err(|error| not_json(error.valid_up_to() + 1))?;
        // Not serde's own words: they repeat a string that stands in the place of an object.
        let Wire { custom_id, method, url, body } =
            serde_json::from_str(text).map_err(|error| not_json(error.column()))?;
        let custom_id = string(custom_id).ok_or_else(|| {
            Wrong("invalid_custom_id", "custom_id must be a string, and is missing or none".to_owned())
        })?;
        if custom_id.is_empty() || custom_id.len() > LONGEST_ID {
            let message = format!("custom_id must have 1 to {LONGEST_ID} bytes, got {}", custom_id.len());
            return Err(Wrong("invalid_custom_id", message));
        }
        *id = Some(custom_id.clone());
        if method.is_some() && string(method).as_deref() != Some("POST") {
            return Err(Wrong("invalid_method", "method must be 'POST'".to_owned()));
        }
        let endpoint = match string(url).as_deref() {
            Some(CHAT) => Endpoint::Chat,
            Some(EMBEDDINGS) => Endpoint::Embeddings,
            _ => return Err(Wrong("invalid_url", format!("url must be '{CHAT}' or '{EMBEDDINGS}'"))),
        };
        let body = body.map_or("null", RawValue::get);
        let wrong = |what: &str| Wrong("invalid_body", what.to_owned());
        let Body { model, stream } =
            serde_json::from_str(body).map_err(|_| wrong("body must be an object"))?;
        let model = string(model).filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| wrong("body.model must be a string that is not empty"))?;
        if stream.is_some_and(|stream| !matches!(stream.get(), "false" | "null")) {
            return Err(wrong("body.stream must be false: what a file is answered with comes whole"));
        }
        if let Some(message) = check_model(&model) {
            return Err(Wrong("no_route", message));
        }
        Ok(Self { custom_id, endpoint, body })
    }

    pub(super) fn into_item(self, line: u64) -> Item {
        let Self { custom_id, endpoint, body } = self;
        Item { line, custom_id: custom_id.into(), endpoint, body: body.to_owned() }
    }
}

impl BadLine {
    pub(super) fn too_long(line: u64) -> Self {
        let message = format!("line {line}: has more than {} MiB", LONGEST / 1024 / 1024);
        Self { line, custom_id: None, code: "line_too_long", message }
    }

    pub(super) fn twice(line: u64, custom_id: Option<Box<str>>, first: Option<u64>) -> Self {
        let of = first.map_or("of an earlier line".to_owned(), |first| format!("of line {first}"));
        let message = format!("line {line}: has the custom_id {of}; this one is not sent");
        Self { line, custom_id, code: "duplicate_custom_id", message }
    }
}

/// The name that a line has, whatever else is wrong with it.
pub(super) fn name_of(text: &[u8]) -> Option<Cow<'_, str>> {
    string(serde_json::from_slice::<Wire<'_>>(text).ok()?.custom_id)
}

fn string(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value?.get()).ok().map(|text| text.0)
}

/// Not its body, which is what its owner says to a model.
impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Item, (Option<String>, &'static str, String)> {
        let check = |model: &str| (model == "nobody").then(|| "nobody has it".to_owned());
        let asked = Asked::of(7, text.as_bytes(), &check);
        asked.map(|asked| asked.into_item(7)).map_err(|bad| {
            assert_eq!(bad.line, 7);
            (bad.custom_id.map(Into::into), bad.code, bad.message)
        })
    }

    #[test]
    fn a_line_is_what_openai_takes_and_its_body_stays_as_it_was_written() {
        let text = r#"{"custom_id":"a\u0062","method":"POST","url":"/v1/embeddings","body":{ "model":"m","input":1.0 }}"#;
        let item = read(text).unwrap();
        assert_eq!((&*item.custom_id, item.endpoint), ("ab", Endpoint::Embeddings));
        assert_eq!(item.body, r#"{ "model":"m","input":1.0 }"#);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_with_its_number_and_nothing_of_its_text() {
        let line = |id: &str, rest: &str| format!(r#"{{"custom_id":{id},{rest}}}"#);
        let chat = |body: &str| format!(r#""url":"/v1/chat/completions","body":{body}"#);
        for (text, code, has_id) in [
            ("secret".to_owned(), "invalid_json", false),
            ("\"secret\"".to_owned(), "invalid_json", false),
            ("{\"custom_id\":\"secret\"".to_owned(), "invalid_json", false),
            (line("7", &chat("{}")), "invalid_custom_id", false),
            (line("\"\"", &chat("{}")), "invalid_custom_id", false),
            (line("\"a\"", r#""method":"GET""#), "invalid_method", true),
            (line("\"a\"", r#""url":"/v1/secret""#), "invalid_url", true),
            (line("\"a\"", &chat("[\"secret\"]")), "invalid_body", true),
            (line("\"a\"", &chat("{\"model\":\"\"}")), "invalid_body", true),
            (line("\"a\"", &chat("{\"model\":\"m\",\"stream\":true}")), "invalid_body", true),
            (line("\"a\"", &chat("{\"model\":\"nobody\"}")), "no_route", true),
        ] {
            let (id, got, message) = read(&text).unwrap_err();
            assert_eq!((got, id.is_some()), (code, has_id), "{text}");
            assert!(message.starts_with("line 7: ") && !message.contains("secret"), "{message}");
        }
        assert!(read(&line("\"a\"", &chat("{\"model\":\"m\",\"stream\":false}"))).is_ok());
    }
}

//! The parts of a message's content as blocks.

use std::borrow::Cow;

use super::NAME;
use super::request::Dropped;
use crate::protocol::json::Members;
use crate::protocol::read::{At, Object, items, not_empty, text, word};
use crate::protocol::translate::Inexpressible;

/// Whose content it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

impl Speaker {
    /// Whether a block in Anthropic's own words may stand in such a content; taken over as it is.
    fn may_say(self, kind: &str) -> bool {
        match self {
            Self::System => false,
            Self::User => matches!(kind, "image" | "document" | "search_result" | "container_upload"),
            Self::Tool => matches!(kind, "image" | "document" | "search_result" | "tool_reference"),
            Self::Assistant => {
                matches!(kind, "thinking" | "redacted_thinking" | "server_tool_use")
                    || kind.ends_with("_tool_result")
            }
        }
    }
}

/// Writes a content, a string or an array of parts, as blocks: each is handed to `each`. Text without a character to be seen is
/// left out, since the API refuses it: with notice, unless it is empty.
pub(super) fn each_block(
    raw: &str,
    speaker: Speaker,
    path: &At<'_>,
    dropped: &mut Dropped,
    mut each: impl FnMut(Block<'_>),
) -> Result<(), Inexpressible> {
    if raw.starts_with('"') {
        if let Some(text) = said(raw, path, dropped) {
            each(Block::Text { text, cache_control: None });
        }
        return Ok(());
    }
    if !raw.starts_with('[') {
        return Err(path.must_be("a string or an array of parts", raw));
    }
    for (at, part) in items(raw, "an array", path)?.iter().enumerate() {
        let path = path.item(at);
        let members = Object::of(part, &path)?;
        let type_path = path.member("type");
        let kind = text(members.get("type").unwrap_or_default(), &type_path)?;
        let of = |name: &str| members.get(name).unwrap_or_default();
        let cache_control = members.get("cache_control");
        match &*kind {
            own if speaker.may_say(own) => {
                each(Block::Other((*part).into()));
                continue;
            }
            "text" => {
                let path = path.member("text");
                if !of("text").starts_with('"') {
                    return Err(path.must_be("a string", of("text")));
                }
                if let Some(text) = said(of("text"), &path, dropped) {
                    each(Block::Text { text, cache_control });
                }
            }
            "refusal" if speaker == Speaker::Assistant => {
                let path = path.member("refusal");
                text(of("refusal"), &path)?;
                if let Some(text) = said(of("refusal"), &path, dropped) {
                    each(Block::Text { text, cache_control });
                }
            }
            "image_url" if matches!(speaker, Speaker::User | Speaker::Tool) => {
                let source = image(of("image_url"), &path.member("image_url"), dropped)?;
                each(Block::Other(with_cache(
                    format!(r#"{{"type":"image","source":{source}"#),
                    cache_control,
                )));
            }
            "file" if matches!(speaker, Speaker::User | Speaker::Tool) => {
                let block = file(of("file"), &path.member("file"), dropped)?;
                each(Block::Other(with_cache(block, cache_control)));
            }
            other => {
                return Err(type_path.cannot(NAME, format_args!("a part of the type {other} in this place")));
            }
        }
        for (name, raw) in members.members() {
            if raw != "null" && name != "type" && name != &*kind && name != "cache_control" {
                dropped.at(&path.member(name));
            }
        }
    }
    Ok(())
}

/// One block.
#[derive(Debug)]
pub(super) enum Block<'a> {
    /// `text`: a JSON string.
    Text {
        text: &'a str,
        cache_control: Option<&'a str>,
    },
    Other(Cow<'a, str>),
}

/// Writes a block. Gives where its text begins, if that is what it is.
pub(super) fn write_block(block: &Block<'_>, out: &mut String) -> Option<usize> {
    match block {
        Block::Text { text, cache_control } => {
            let last = out.len();
            out.push_str(r#"{"type":"text","text":"#);
            let at = out.len();
            out.push_str(text);
            out.push('}');
            cache_last(out, last, *cache_control);
            Some(at)
        }
        Block::Other(raw) => {
            out.push_str(raw);
            None
        }
    }
}

/// Puts `cache_control` into the last block, which stands from `last` on, unless it says so for itself.
pub(super) fn cache_last(out: &mut String, last: usize, cache_control: Option<&str>) {
    let Some(raw) = cache_control else { return };
    if Members::of(&out[last..]).is_ok_and(|block| block.raw("cache_control").is_none()) {
        let end = out.trim_end().len();
        out.truncate(end - 1);
        out.push_str(r#","cache_control":"#);
        out.push_str(raw);
        out.push('}');
    }
}

/// A text that says something.
fn said<'a>(raw: &'a str, path: &At<'_>, dropped: &mut Dropped) -> Option<&'a str> {
    if !is_blank(raw) {
        return Some(raw);
    }
    if raw != r#""""# {
        dropped.at(path);
    }
    None
}

/// Whether a JSON string holds nothing but white space. The API refuses a block of text that does.
fn is_blank(raw: &str) -> bool {
    let inner = raw.trim_matches('"');
    match inner.as_bytes().first() {
        None => true,
        // Nearly every text shows with its first byte that it says something.
        Some(byte) if byte.is_ascii_graphic() && *byte != b'\\' => false,
        Some(_) => word(raw).is_some_and(|text| text.chars().all(char::is_whitespace)),
    }
}

fn with_cache(mut open: String, cache_control: Option<&str>) -> Cow<'static, str> {
    if let Some(raw) = cache_control {
        open.push_str(r#","cache_control":"#);
        open.push_str(raw);
    }
    open.push('}');
    open.into()
}

/// The source of an image.
fn image(raw: &str, path: &At<'_>, dropped: &mut Dropped) -> Result<String, Inexpressible> {
    let members = Object::of(raw, path)?;
    for (name, raw) in members.members() {
        // The API sees an image in one way only.
        if name != "url" && raw != "null" && (name != "detail" || raw != r#""auto""#) {
            dropped.at(&path.member(name));
        }
    }
    let path = path.member("url");
    let url = text(members.get("url").unwrap_or_default(), &path)?;
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(format!(r#"{{"type":"url","url":{}}}"#, members.get("url").unwrap_or_default()));
    }
    let data = Data::of(&url, &path)?;
    let kind = data.image_kind().ok_or_else(|| {
        path.wrong("must be an image of the type image/jpeg, image/png, image/gif or image/webp")
    })?;
    Ok(data.source(kind))
}

/// A file as a block without its last brace: a PDF is a document, an image an image.
fn file(raw: &str, path: &At<'_>, dropped: &mut Dropped) -> Result<String, Inexpressible> {
    let members = Object::of(raw, path)?;
    dropped.unknown(&members, &["file_data", "file_id", "filename"], path);
    let filename = path.member("filename");
    let title = match members.get("filename") {
        Some(raw) => {
            text(raw, &filename)?;
            format!(r#","title":{raw}"#)
        }
        None => String::new(),
    };
    if let Some(raw) = members.get("file_data") {
        let path = path.member("file_data");
        let url = text(raw, &path)?;
        let data = Data::of(&url, &path)?;
        if let Some(kind) = data.image_kind() {
            if !title.is_empty() {
                dropped.at(&filename);
            }
            return Ok(format!(r#"{{"type":"image","source":{}"#, data.source(kind)));
        }
        if data.kind.eq_ignore_ascii_case("application/pdf") {
            return Ok(format!(r#"{{"type":"document","source":{}{title}"#, data.source("application/pdf")));
        }
        return Err(
            path.cannot(NAME, format_args!("a file that is neither a PDF nor an image: {}", data.kind))
        );
    }
    let Some(raw) = members.get("file_id") else {
        return Err(path.wrong("must have file_data or file_id"));
    };
    not_empty(raw, &path.member("file_id"))?;
    Ok(format!(r#"{{"type":"document","source":{{"type":"file","file_id":{raw}}}{title}"#))
}

/// A base64 data URL.
struct Data<'a> {
    kind: &'a str,
    base64: &'a str,
}

impl<'a> Data<'a> {
    fn of(url: &'a str, path: &At<'_>) -> Result<Self, Inexpressible> {
        let Some(rest) = url.strip_prefix("data:") else {
            return Err(path.wrong("must be an http(s) or data: URL"));
        };
        let split =
            rest.split_once(',').and_then(|(head, base64)| Some((head.strip_suffix(";base64")?, base64)));
        let Some((kind, base64)) = split else {
            return Err(path.wrong("must be a data: URL in base64"));
        };
        let digits = base64.trim_end_matches('=');
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        if digits.is_empty() || base64.len() - digits.len() > 2 || !digits.bytes().all(is_digit) {
            return Err(path.wrong("must have data in base64"));
        }
        // Parameters say nothing that the API wants to know.
        Ok(Self { kind: kind.split(';').next().unwrap_or(kind), base64 })
    }

    fn image_kind(&self) -> Option<&'static str> {
        match &*self.kind.to_ascii_lowercase() {
            "image/jpeg" | "image/jpg" => Some("image/jpeg"),
            "image/png" => Some("image/png"),
            "image/gif" => Some("image/gif"),
            "image/webp" => Some("image/webp"),
            _ => None,
        }
    }

    /// base64 needs no escapes in JSON.
    fn source(&self, kind: &str) -> String {
        format!(r#"{{"type":"base64","media_type":"{kind}","data":"{}"}}"#, self.base64)
    }
}

//! Values of a request, read with the path that a refusal names.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::protocol::json::{Members, Text};
use crate::protocol::translate::Inexpressible;

/// Where a value stands. Made on the stack, written only when somebody has to be told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Member(&'p Self, &'p str),
    Item(&'p Self, usize),
}

impl Path<'_> {
    pub(super) fn member<'s>(&'s self, name: &'s str) -> Path<'s> {
        Path::Member(self, name)
    }

    pub(super) fn item(&self, index: usize) -> Path<'_> {
        Path::Item(self, index)
    }

    /// A refusal of what stands here.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Inexpressible {
        Inexpressible { path: self.to_string(), message: message.into() }
    }

    /// A refusal of what Anthropic has no words for.
    pub(super) fn unsayable(&self, what: impl fmt::Display) -> Inexpressible {
        self.refuse(format!("cannot be said in Anthropic's protocol: {what}"))
    }

    /// A refusal of a value of the wrong kind.
    pub(super) fn wrong(&self, expected: &str, got: &str) -> Inexpressible {
        self.refuse(format!("must be {expected}, got {}", kind(got)))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Path::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The text of a JSON string, if it is one that holds no escapes, as nearly every name is.
pub(super) fn plain(raw: &str) -> Option<&str> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    memchr::memchr(b'\\', inner.as_bytes()).is_none().then_some(inner)
}

/// The text of a JSON string; None where it is none, or holds what is no Unicode.
pub(super) fn word(raw: &str) -> Option<Cow<'_, str>> {
    match plain(raw) {
        Some(text) => Some(text.into()),
        None => serde_json::from_str::<Text<'_>>(raw).ok().map(|Text(text)| text),
    }
}

pub(super) fn string<'a>(raw: &'a str, path: &Path<'_>) -> Result<Cow<'a, str>, Inexpressible> {
    if raw.starts_with('"') {
        // A lone surrogate is a string by JSON's grammar that no text can hold.
        return word(raw).ok_or_else(|| path.refuse("must be a string of Unicode text"));
    }
    Err(path.wrong("a string", raw))
}

/// A string that says something.
pub(super) fn name<'a>(raw: &'a str, path: &Path<'_>) -> Result<Cow<'a, str>, Inexpressible> {
    let text = string(raw, path)?;
    if text.is_empty() { Err(path.refuse("must not be empty")) } else { Ok(text) }
}

pub(super) fn boolean(raw: &str, path: &Path<'_>) -> Result<bool, Inexpressible> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(path.wrong("true or false", raw)),
    }
}

/// A number from `least` to `most`.
pub(super) fn number(raw: &str, least: f64, most: f64, path: &Path<'_>) -> Result<f64, Inexpressible> {
    match raw.parse::<f64>() {
        Ok(number) if kind(raw) == "a number" && number >= least && number <= most => Ok(number),
        Ok(_) if kind(raw) == "a number" => {
            Err(path.refuse(format!("must be from {least} to {most}, got {raw}")))
        }
        _ => Err(path.wrong("a number", raw)),
    }
}

pub(super) fn count(raw: &str, path: &Path<'_>) -> Result<u64, Inexpressible> {
    match raw.parse() {
        Ok(count) => Ok(count),
        Err(_) if kind(raw) == "a number" => Err(path.refuse(format!("must be a whole number, got {raw}"))),
        Err(_) => Err(path.wrong("a whole number", raw)),
    }
}

pub(super) fn object<'a>(raw: &'a str, path: &Path<'_>) -> Result<Members<'a>, Inexpressible> {
    match Members::of(raw) {
        Ok(members) => Ok(members),
        Err(_) if kind(raw.trim_start()) == "an object" => {
            Err(path.refuse("must be an object, got broken JSON"))
        }
        Err(_) => Err(path.wrong("an object", raw.trim_start())),
    }
}

pub(super) fn list<'a>(raw: &'a str, path: &Path<'_>) -> Result<Vec<&'a RawValue>, Inexpressible> {
    match raw.starts_with('[').then(|| serde_json::from_str(raw)) {
        Some(Ok(list)) => Ok(list),
        _ => Err(path.wrong("a list", raw)),
    }
}

/// A member that is there and not null.
pub(super) fn given<'a>(members: &Members<'a>, name: &str) -> Option<&'a str> {
    members.raw(name).filter(|raw| *raw != "null")
}

/// What a JSON text is, for a message.
pub(super) fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        None => "nothing",
        Some(b'"') => "a string",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
    }
}

/// Whether a JSON string holds nothing but white space. The API refuses a block of text that does.
pub(super) fn is_blank(raw: &str) -> bool {
    let inner = raw.trim_matches('"');
    match inner.as_bytes().first() {
        None => true,
        // Nearly every text shows with its first byte that it says something.
        Some(byte) if byte.is_ascii_graphic() && *byte != b'\\' => false,
        Some(_) => serde_json::from_str::<Text<'_>>(raw)
            .is_ok_and(|Text(text)| text.chars().all(char::is_whitespace)),
    }
}

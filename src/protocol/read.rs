//! A request, read member by member: values stay raw text, and whatever is wrong is named by its path.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;

use super::json::{Members, Text, after_string, inside};
use super::translate::Inexpressible;

/// A place in a request. Its text is made only where it has to be told.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'p> {
    Root,
    Member(&'p Self, &'p str),
    Item(&'p Self, usize),
}

impl<'p> At<'p> {
    pub(super) fn member(&'p self, name: &'p str) -> Self {
        At::Member(self, name)
    }

    pub(super) fn item(&'p self, number: usize) -> Self {
        At::Item(self, number)
    }

    /// A value of the wrong kind.
    pub(super) fn must_be(&self, what: &str, got: &str) -> Inexpressible {
        self.wrong(format!("must be {what}, got {}", kind(got)))
    }

    /// What a protocol has no words for. `protocol`: whose it is.
    pub(super) fn cannot(&self, protocol: &str, why: impl fmt::Display) -> Inexpressible {
        self.wrong(format!("cannot be said in {protocol}'s protocol: {why}"))
    }

    pub(super) fn wrong(&self, message: impl Into<String>) -> Inexpressible {
        Inexpressible { path: self.to_string(), message: message.into() }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(of, name) => write!(f, "{of}.{name}"),
            Self::Item(of, number) => write!(f, "{of}[{number}]"),
        }
    }
}

/// What a JSON value is, in words.
fn kind(raw: &str) -> &'static str {
    match raw.bytes().next() {
        None => "nothing",
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
    }
}

/// An object's members in their order, values as raw text. Of two members of one name the last one counts.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    /// Reads a whole text, which is checked to be JSON. What is read of its members afterwards needs no check.
    pub(super) fn parse(text: &'a str, at: &At<'_>) -> Result<Self, Inexpressible> {
        Ok(Self(members(text, at)?.into_pairs()))
    }

    /// Reads a raw value of a text that was checked.
    pub(super) fn of(raw: &'a str, at: &At<'_>) -> Result<Self, Inexpressible> {
        if !raw.starts_with('{') {
            return Err(at.must_be("an object", raw));
        }
        Self::read(&mut Walk::into(raw), at)
    }

    /// Reads the members up to the end of the object that the walk is in.
    fn read(walk: &mut Walk<'a>, at: &At<'_>) -> Result<Self, Inexpressible> {
        let mut members = Vec::with_capacity(8);
        while let Some(name) = walk.value() {
            let Some(value) = walk.value() else { break };
            members.push((text(name, at)?, value));
        }
        Ok(Self(members))
    }

    /// A member's raw value; none where it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        Some(self.raw(name)).filter(|value| !matches!(*value, "" | "null"))
    }

    /// The raw value of a member, null too, or "" (which no JSON value is).
    pub(super) fn raw(&self, name: &str) -> &'a str {
        self.0.iter().rev().find(|(have, _)| have == name).map_or("", |(_, value)| *value)
    }

    /// The text of a member that has to be a string where it is there.
    pub(super) fn text(&self, name: &str, at: &At<'_>) -> Result<Option<Cow<'a, str>>, Inexpressible> {
        self.get(name).map(|raw| text(raw, &at.member(name))).transpose()
    }

    pub(super) fn object(&self, name: &str, at: &At<'_>) -> Result<Option<Self>, Inexpressible> {
        self.get(name).map(|raw| Self::of(raw, &at.member(name))).transpose()
    }

    pub(super) fn bool(&self, name: &str, at: &At<'_>) -> Result<Option<bool>, Inexpressible> {
        self.get(name).map(|raw| boolean(raw, &at.member(name))).transpose()
    }

    /// A number's own text.
    pub(super) fn number(&self, name: &str, at: &At<'_>) -> Result<Option<&'a str>, Inexpressible> {
        let read = |raw: &'a str| match kind(raw) {
            "a number" => Ok(raw),
            _ => Err(at.member(name).must_be("a number", raw)),
        };
        self.get(name).map(read).transpose()
    }

    pub(super) fn integer(&self, name: &str, at: &At<'_>) -> Result<Option<u64>, Inexpressible> {
        self.get(name).map(|raw| count(raw, &at.member(name))).transpose()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// Notes each member that has a value and is none of those that are known.
    pub(super) fn drop_unknown(&self, known: &[&str], at: &At<'_>, dropped: &mut Vec<Cow<'static, str>>) {
        for (name, value) in self.members() {
            let empty = matches!(value, "null" | "[]" | "{}");
            if !empty && !known.contains(&name) {
                dropped.push(at.member(name).to_string().into());
            }
        }
    }
}

/// An object whose members can be set; its whole text is checked to be JSON.
pub(super) fn members<'a>(text: &'a str, at: &At<'_>) -> Result<Members<'a>, Inexpressible> {
    Members::of(text).map_err(|_| match text.trim_start() {
        broken if broken.starts_with('{') => at.wrong("must be valid JSON"),
        other => at.must_be("an object", other),
    })
}

/// The text of a JSON string.
pub(super) fn text<'a>(raw: &'a str, at: &At<'_>) -> Result<Cow<'a, str>, Inexpressible> {
    if !raw.starts_with('"') {
        return Err(at.must_be("a string", raw));
    }
    // A lone surrogate is a string by JSON's grammar that no text can hold.
    word(raw).ok_or_else(|| at.wrong("must be a string of whole characters"))
}

/// The same; None where it is none, or holds what is no Unicode.
pub(super) fn word(raw: &str) -> Option<Cow<'_, str>> {
    // As nearly every name is: without escapes.
    if raw.starts_with('"') && memchr(b'\\', raw.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside(raw)));
    }
    serde_json::from_str::<Text<'_>>(raw).ok().map(|Text(text)| text)
}

/// A string that says something.
pub(super) fn not_empty<'a>(raw: &'a str, at: &At<'_>) -> Result<Cow<'a, str>, Inexpressible> {
    let text = text(raw, at)?;
    if text.is_empty() { Err(at.wrong("must not be empty")) } else { Ok(text) }
}

pub(super) fn boolean(raw: &str, at: &At<'_>) -> Result<bool, Inexpressible> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(at.must_be("a boolean", raw)),
    }
}

pub(super) fn count(raw: &str, at: &At<'_>) -> Result<u64, Inexpressible> {
    match raw.parse() {
        Ok(count) => Ok(count),
        Err(_) if kind(raw) == "a number" => {
            Err(at.wrong(format!("must be a non-negative integer, got {raw}")))
        }
        Err(_) => Err(at.must_be("a non-negative integer", raw)),
    }
}

/// A number from `least` to `most`.
pub(super) fn number(raw: &str, least: f64, most: f64, at: &At<'_>) -> Result<f64, Inexpressible> {
    match raw.parse::<f64>() {
        Ok(number) if kind(raw) == "a number" && number >= least && number <= most => Ok(number),
        Ok(_) if kind(raw) == "a number" => {
            Err(at.wrong(format!("must be from {least} to {most}, got {raw}")))
        }
        _ => Err(at.must_be("a number", raw)),
    }
}

/// A JSON string, as it stands.
pub(super) fn string<'a>(raw: &'a str, at: &At<'_>) -> Result<&'a str, Inexpressible> {
    if raw.starts_with('"') { Ok(raw) } else { Err(at.must_be("a string", raw)) }
}

/// The items of an array, as raw text.
pub(super) fn items<'a>(raw: &'a str, what: &str, at: &At<'_>) -> Result<Vec<&'a str>, Inexpressible> {
    if !raw.starts_with('[') {
        return Err(at.must_be(what, raw));
    }
    let mut walk = Walk::into(raw);
    Ok(std::iter::from_fn(|| walk.value()).collect())
}

/// The items of an array of objects.
pub(super) fn objects<'a>(raw: &'a str, at: &At<'_>) -> Result<Vec<Object<'a>>, Inexpressible> {
    if !raw.starts_with('[') {
        return Err(at.must_be("an array of objects", raw));
    }
    let mut walk = Walk::into(raw);
    let mut objects = Vec::new();
    while let Some(first) = walk.next() {
        let at = at.item(objects.len());
        if first != b'{' {
            return Err(at.must_be("an object", &raw[walk.at..]));
        }
        walk.at += 1;
        objects.push(Object::read(&mut walk, &at)?);
        walk.at += 1;
    }
    Ok(objects)
}

/// The values of an object (names and values in turn) or an array, one after the other, in a text that was checked to be
/// JSON. A parser would check all that is inside of them once more on each level.
struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn into(text: &'a str) -> Self {
        Self { text, at: 1 }
    }

    /// Goes to the next value, and tells its first byte; none at the end.
    fn next(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':') {
            self.at += 1;
        }
        bytes.get(self.at).copied().filter(|first| !matches!(first, b'}' | b']'))
    }

    fn value(&mut self) -> Option<&'a str> {
        let first = self.next()?;
        let (bytes, from) = (self.text.as_bytes(), self.at);
        self.at = match first {
            b'"' => after_string(bytes, from),
            b'{' | b'[' => after_brackets(bytes, from),
            _ => {
                let ends = |byte: &u8| {
                    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' | b'}' | b']' | b'"')
                };
                from + bytes[from..].iter().position(ends).unwrap_or(bytes.len() - from)
            }
        };
        self.text.get(from..self.at)
    }
}

/// Where the object or array that begins at `at` has ended.
fn after_brackets(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = after_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// Any JSON, as text with any white space.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],: \u{e9}\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a\"\\\\{},: ]{0,4}", inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// What a value has, read by walking.
    fn walked(raw: &str) -> Value {
        match kind(raw) {
            "an object" => {
                let object = Object::of(raw, &At::Root).unwrap();
                object.members().map(|(name, value)| (name.to_owned(), walked(value))).collect()
            }
            "an array" => items(raw, "", &At::Root).unwrap().into_iter().map(walked).collect(),
            _ => serde_json::from_str(raw).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn walking_finds_what_a_parser_finds(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(walked(&text), value.clone());
            }
        }

        #[test]
        fn no_text_makes_the_walk_panic_or_go_on_forever(text in "[a\"\\\\{}\\[\\],: \u{e9}0-9]{0,24}") {
            for raw in [format!("{{{text}"), format!("[{text}")] {
                let mut walk = Walk::into(&raw);
                prop_assert!(std::iter::from_fn(|| walk.value()).take(100).count() < 100);
            }
        }
    }

    #[test]
    fn a_place_is_told_as_javascript_says_it() {
        let root = At::Root;
        let (messages, content) = (root.member("messages"), "content");
        let item = messages.item(2);
        assert_eq!(item.member(content).to_string(), "messages[2].content");
    }
}

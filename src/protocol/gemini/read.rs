//! A request, read member by member: values stay raw text, and whatever is wrong is named by its path.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::protocol::json::Text;
use crate::protocol::translate::Inexpressible;

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

    /// What Gemini has no words for.
    pub(super) fn cannot(&self, why: &str) -> Inexpressible {
        self.wrong(format!("cannot be said in Gemini's protocol: {why}"))
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

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'a> Object<'a> {
    pub(super) fn of(raw: &'a str, at: &At<'_>) -> Result<Self, Inexpressible> {
        serde_json::from_str(raw).map_err(|_| match kind(raw.trim_start()) {
            "an object" => at.wrong("must be valid JSON"),
            _ => at.must_be("an object", raw.trim_start()),
        })
    }

    /// A member's raw value; none where it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().rev().find(|(have, _)| have == name);
        found.map(|(_, value)| *value).filter(|value| *value != "null")
    }

    /// The raw value of a member, or "" (which no JSON value is).
    pub(super) fn raw(&self, name: &str) -> &'a str {
        self.get(name).unwrap_or("")
    }

    /// The text of a member that has to be a string where it is there.
    pub(super) fn text(&self, name: &str, at: &At<'_>) -> Result<Option<Cow<'a, str>>, Inexpressible> {
        self.get(name).map(|raw| text(raw, &at.member(name))).transpose()
    }

    pub(super) fn object(&self, name: &str, at: &At<'_>) -> Result<Option<Self>, Inexpressible> {
        self.get(name).map(|raw| Self::of(raw, &at.member(name))).transpose()
    }

    pub(super) fn bool(&self, name: &str, at: &At<'_>) -> Result<Option<bool>, Inexpressible> {
        let read = |raw| match raw {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(at.member(name).must_be("a boolean", other)),
        };
        self.get(name).map(read).transpose()
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
        let read = |raw: &str| match serde_json::from_str(raw) {
            Ok(number) => Ok(number),
            Err(_) if kind(raw) == "a number" => {
                Err(at.member(name).wrong(format!("must be a non-negative integer, got {raw}")))
            }
            Err(_) => Err(at.member(name).must_be("a non-negative integer", raw)),
        };
        self.get(name).map(read).transpose()
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

/// The text of a JSON string.
pub(super) fn text<'a>(raw: &'a str, at: &At<'_>) -> Result<Cow<'a, str>, Inexpressible> {
    match serde_json::from_str::<Text<'a>>(raw) {
        Ok(Text(text)) => Ok(text),
        Err(_) if raw.starts_with('"') => Err(at.wrong("must be a string of whole characters")),
        Err(_) => Err(at.must_be("a string", raw)),
    }
}

/// A JSON string, as it stands.
pub(super) fn string<'a>(raw: &'a str, at: &At<'_>) -> Result<&'a str, Inexpressible> {
    if raw.starts_with('"') { Ok(raw) } else { Err(at.must_be("a string", raw)) }
}

/// The items of an array, as raw text.
pub(super) fn items<'a>(raw: &'a str, what: &str, at: &At<'_>) -> Result<Vec<&'a RawValue>, Inexpressible> {
    serde_json::from_str(raw).map_err(|_| at.must_be(what, raw))
}

/// The items of an array of objects.
pub(super) fn objects<'a>(raw: &'a str, at: &At<'_>) -> Result<Vec<Object<'a>>, Inexpressible> {
    if let Ok(objects) = serde_json::from_str(raw) {
        return Ok(objects);
    }
    // Something is none: say which.
    let items = items(raw, "an array of objects", at)?;
    items.iter().enumerate().map(|(number, item)| Object::of(item.get(), &at.item(number))).collect()
}

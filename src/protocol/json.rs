//! JSON as text: the members of an object found, set and joined without building a document of it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memchr2;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A string that is borrowed from the text where it holds no escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// The members of an object in their order, values as raw text. Where a name stands twice, the last one counts, as
/// it does in JavaScript.
#[derive(Debug)]
pub struct Members<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

/// A text that is no JSON object.
#[derive(Debug)]
pub struct NotAnObject(pub serde_json::Error);

impl<'a> Members<'a> {
    /// Reads an object; its whole text is checked to be JSON.
    pub fn of(text: &'a str) -> Result<Self, NotAnObject> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de str)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(members)
            }
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(Collect).map_err(NotAnObject)?;
        deserializer.end().map_err(NotAnObject)?;
        Ok(Self { text, members })
    }

    /// Every member with the raw text of its value, in their order; of two with one name, both.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(name, value)| (&**name, *value))
    }

    /// The raw text of a member's value.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|(have, _)| have == name).map(|(_, value)| *value)
    }

    /// A member's value; None where it is missing, null or of another kind.
    pub fn value<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        self.raw(name).and_then(|raw| serde_json::from_str(raw).ok())
    }

    /// All members, with their raw values.
    pub fn into_pairs(self) -> Vec<(Cow<'a, str>, &'a str)> {
        self.members
    }

    /// The object with a member set to a raw value: in its place where it is there, else as the first.
    pub fn with(&self, name: &str, value: &str) -> String {
        let mut out = String::with_capacity(self.text.len() + name.len() + value.len() + 4);
        let mut found = self.members.iter().filter(|(have, _)| have == name).peekable();
        if found.peek().is_some() {
            let mut from = 0;
            for (_, old) in found {
                let span = self.span(old);
                out.push_str(&self.text[from..span.start]);
                out.push_str(value);
                from = span.end;
            }
            out.push_str(&self.text[from..]);
        } else {
            let open = self.text.find('{').unwrap_or(0);
            out.push_str(&self.text[..=open]);
            out.push_str(&quote(name));
            out.push(':');
            out.push_str(value);
            if !self.members.is_empty() {
                out.push(',');
            }
            out.push_str(&self.text[open + 1..]);
        }
        out
    }

    /// Where a value that was borrowed from the text stands in it.
    fn span(&self, value: &str) -> Range<usize> {
        let start = value.as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.len()
    }
}

/// A JSON string of a text.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where the string that begins at `at` has ended.
pub(super) fn after_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    // Most are short: a search has to be prepared.
    for _ in 0..32 {
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return bytes.len(),
        }
    }
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// A JSON string without its quotes: two of them joined are the string of both texts.
pub(super) fn inside(string: &str) -> &str {
    string.get(1..string.len().saturating_sub(1)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn a_member_is_replaced_in_its_place_and_the_rest_stays_as_it_was() {
        let text = r#" { "a" : 1.0, "model":"x", "b":[1,{"model":"y"}] } "#;
        let members = Members::of(text).unwrap();
        assert_eq!(members.with("model", "\"z\""), r#" { "a" : 1.0, "model":"z", "b":[1,{"model":"y"}] } "#);
        assert_eq!(members.value::<String>("model").unwrap(), "x");
    }

    #[test]
    fn a_missing_member_comes_first() {
        assert_eq!(Members::of("{}").unwrap().with("stream", "true"), r#"{"stream":true}"#);
        assert_eq!(Members::of(r#"{"a":1}"#).unwrap().with("stream", "true"), r#"{"stream":true,"a":1}"#);
    }

    #[test]
    fn of_two_members_of_one_name_the_last_counts_and_both_are_set() {
        let members = Members::of(r#"{"n":1,"\u006e":2}"#).unwrap();
        assert_eq!(members.raw("n"), Some("2"));
        assert_eq!(members.with("n", "3"), r#"{"n":3,"\u006e":3}"#);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "[1]", "null", "{\"a\":}", "{} x", "{\"a\":1"] {
            assert!(Members::of(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn setting_a_member_equals_setting_it_in_the_document(
            names in proptest::collection::vec("[a-c\"\\\\é]{0,3}", 0..6),
            name in "[a-c\"\\\\é]{0,3}",
        ) {
            let mut document = json!({});
            for (at, member) in names.iter().enumerate() {
                document[member.as_str()] = json!([at, {"x": member}]);
            }
            let text = document.to_string();
            let edited: Value = serde_json::from_str(&Members::of(&text).unwrap().with(&name, "[7]")).unwrap();
            document[name.as_str()] = json!([7]);
            prop_assert_eq!(edited, document);
        }
    }
}

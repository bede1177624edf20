//! What requests of a provider look like, as tables, and what in a request is not so. Two providers read by them,
//! each by its own habits: Anthropic's names are exact and some fields must be there; Gemini's are those of a
//! protocol buffer in JSON, in either spelling, where `null` is as good as nothing.

use serde_json::{Map, Value};

/// What a value has to be.
#[derive(Debug)]
pub(super) enum Shape {
    Any,
    Text,
    Flag,
    Whole,
    Number,
    /// Base64.
    Bytes,
    /// Any object.
    Object,
    /// One of some words, of the enum of this name.
    Word(&'static str, &'static [&'static str]),
    Message(&'static Message),
    List(&'static Self),
    Map(&'static Self),
    /// One of some objects, told apart by their `type`.
    Tagged(&'static [(&'static str, &'static Message)]),
    /// A text, or else this.
    TextOr(&'static Self),
}

/// An object of known fields.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) fields: &'static [Field],
    /// Whether it may have others.
    pub(super) open: bool,
}

#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    shape: Shape,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    /// `null` is as good as nothing.
    Nullable,
}

pub(super) const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, need: Need::Required }
}

pub(super) const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, need: Need::Optional }
}

pub(super) const fn nullable(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, need: Need::Nullable }
}

pub(super) const fn message(fields: &'static [Field]) -> Message {
    Message { fields, open: false }
}

/// Something that is not as its table says.
#[derive(Debug)]
pub(super) struct Wrong<'v> {
    pub(super) path: Vec<Step<'v>>,
    pub(super) what: What<'v>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'v> {
    Key(&'v str),
    At(usize),
    /// Which of several objects it was taken for.
    Tag(&'static str),
}

#[derive(Debug)]
pub(super) enum What<'v> {
    Missing,
    Unknown(&'v str),
    /// Another kind of value.
    Kind(&'static Shape, &'v Value),
    /// The `type` is none of those that there are.
    Tag(&'v Value, Vec<&'static str>),
}

/// Whose habits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habits {
    Exact,
    Proto,
}

/// All that is wrong with a value, in the order of the text.
pub(super) fn check<'v>(value: &'v Value, shape: &'static Shape, habits: Habits) -> Vec<Wrong<'v>> {
    let mut check = Check { habits, path: Vec::new(), wrong: Vec::new() };
    check.value(value, shape);
    check.wrong
}

struct Check<'v> {
    habits: Habits,
    path: Vec<Step<'v>>,
    wrong: Vec<Wrong<'v>>,
}

impl<'v> Check<'v> {
    fn value(&mut self, value: &'v Value, shape: &'static Shape) {
        match (shape, value) {
            (Shape::Any, _)
            | (Shape::Text | Shape::TextOr(_), Value::String(_))
            | (Shape::Flag, Value::Bool(_))
            | (Shape::Number, Value::Number(_))
            | (Shape::Object, Value::Object(_)) => {}
            (Shape::Whole, Value::Number(number)) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {}
            // 64 bits do not fit a number of JavaScript, so a protocol buffer's are texts.
            (Shape::Whole, Value::String(text))
                if self.habits == Habits::Proto && text.parse::<i64>().is_ok() => {}
            (Shape::Bytes, Value::String(text)) if is_base64(text, self.habits == Habits::Proto) => {}
            (Shape::Word(_, words), Value::String(text))
                if words.iter().any(|word| {
                    word == text || self.habits == Habits::Proto && word.eq_ignore_ascii_case(text)
                }) => {}
            (Shape::TextOr(other), _) => self.value(value, other),
            (Shape::Message(message), Value::Object(object)) => self.message(object, message, None),
            (Shape::Tagged(tags), Value::Object(object)) => self.tagged(value, object, tags),
            (Shape::List(each), Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.within(Step::At(at), |check| check.value(item, each));
                }
            }
            (Shape::Map(each), Value::Object(object)) => {
                for (at, item) in object.values().enumerate() {
                    self.within(Step::At(at), |check| {
                        check.within(Step::Key("value"), |check| check.value(item, each));
                    });
                }
            }
            _ => self.note(What::Kind(shape, value)),
        }
    }

    fn tagged(
        &mut self,
        value: &'v Value,
        object: &'v Map<String, Value>,
        tags: &'static [(&'static str, &'static Message)],
    ) {
        let Some(kind) = object.get("type") else {
            return self.within(Step::Key("type"), |check| check.note(What::Missing));
        };
        match tags.iter().find(|(tag, _)| kind == tag) {
            Some((tag, message)) => {
                self.within(Step::Tag(tag), |check| check.message(object, message, Some("type")));
            }
            None => self.note(What::Tag(
                value.get("type").unwrap_or(&Value::Null),
                tags.iter().map(|(tag, _)| *tag).collect(),
            )),
        }
    }

    fn message(
        &mut self,
        object: &'v Map<String, Value>,
        message: &'static Message,
        known: Option<&'static str>,
    ) {
        for field in message.fields.iter().filter(|field| field.need == Need::Required) {
            if !object.contains_key(field.name) {
                self.within(Step::Key(field.name), |check| check.note(What::Missing));
            }
        }
        for (name, value) in object {
            match self.field(message, name) {
                Some(field)
                    if value.is_null() && (self.habits == Habits::Proto || field.need == Need::Nullable) => {}
                Some(field) => self.within(Step::Key(name), |check| check.value(value, &field.shape)),
                None if message.open || known == Some(name) => {}
                None => self.note(What::Unknown(name)),
            }
        }
    }

    fn field(&self, message: &'static Message, name: &str) -> Option<&'static Field> {
        message
            .fields
            .iter()
            .find(|field| field.name == name || self.habits == Habits::Proto && snake(field.name) == name)
    }

    fn within(&mut self, step: Step<'v>, look: impl FnOnce(&mut Self)) {
        self.path.push(step);
        look(self);
        self.path.pop();
    }

    fn note(&mut self, what: What<'v>) {
        self.wrong.push(Wrong { path: self.path.clone(), what });
    }
}

/// The same value with the names of its fields as the tables have them, whichever way they were spelt.
pub(super) fn camel(value: &Value, shape: &Shape) -> Value {
    match (shape, value) {
        (Shape::Message(message), Value::Object(object)) => {
            let known = |name: &str| {
                message.fields.iter().find(|field| field.name == name || snake(field.name) == name)
            };
            let renamed = object.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| {
                known(name).map_or_else(
                    || (name.clone(), value.clone()),
                    |field| (field.name.to_owned(), camel(value, &field.shape)),
                )
            });
            Value::Object(renamed.collect())
        }
        (Shape::List(each), Value::Array(items)) => items.iter().map(|item| camel(item, each)).collect(),
        (Shape::Map(each), Value::Object(object)) => {
            object.iter().map(|(name, item)| (name.clone(), camel(item, each))).collect()
        }
        (Shape::Word(..), Value::String(word)) => Value::String(word.to_ascii_uppercase()),
        _ => value.clone(),
    }
}

/// `inlineData` as `inline_data`.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Whether it is Base64; a protocol buffer's may be that for URLs, and without its padding.
pub(super) fn is_base64(text: &str, lenient: bool) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let known =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/') || lenient && matches!(c, b'-' | b'_');
    let fits = if lenient && padding == 0 { body.len() % 4 != 1 } else { text.len().is_multiple_of(4) };
    padding <= 2 && fits && body.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static INNER: Message = message(&[required("text", Shape::Text), nullable("inlineData", Shape::Bytes)]);
    static SHAPE: Shape = Shape::Message(&Message {
        fields: &[optional("partList", Shape::List(&Shape::Message(&INNER))), optional("n", Shape::Whole)],
        open: false,
    });

    #[test]
    fn each_wrong_thing_is_found_with_its_path() {
        let value = json!({ "partList": [{ "text": 1, "x": 2 }, {}], "n": 1.5 });
        let wrong = check(&value, &SHAPE, Habits::Exact);
        let told: Vec<_> = wrong.iter().map(|wrong| format!("{:?} {:?}", wrong.path, wrong.what)).collect();
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told.iter().any(|told| told.contains("Unknown(\"x\")")));
        assert!(told.iter().any(|told| told.contains("At(1)") && told.ends_with("Missing")));
    }

    #[test]
    fn a_protocol_buffer_is_read_in_either_spelling_and_null_is_nothing() {
        let value = json!({ "part_list": [{ "text": "a", "inline_data": "QQ" }], "n": "5" });
        assert!(check(&value, &SHAPE, Habits::Proto).is_empty());
        assert!(!check(&value, &SHAPE, Habits::Exact).is_empty());
        let camel = camel(&value, &SHAPE);
        assert_eq!(camel["partList"][0]["inlineData"], "QQ");
    }

    #[test]
    fn base64_is_told_from_what_is_none() {
        for good in ["", "QUJD", "QUI=", "QQ=="] {
            assert!(is_base64(good, false), "{good}");
        }
        for bad in ["Q", "QQ", "Q===", "Q*==", "QQ-_"] {
            assert!(!is_base64(bad, false), "{bad}");
        }
        assert!(is_base64("QQ-_", true) && is_base64("QQ", true) && !is_base64("Q", true));
    }
}

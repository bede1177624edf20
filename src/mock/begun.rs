//! A chat that ends with the beginning of its own answer, which is gone on with (a prefill).

use std::borrow::Cow;

use serde_json::Value;

use super::{gate::prompt, request::Digest};

/// What an answer is to begin with.
#[derive(Debug)]
pub(super) struct Begun<'v> {
    text: Cow<'v, str>,
    /// The prompt without it: the one that was answered by what it is the beginning of.
    pub(super) prompt: Digest,
}

impl<'v> Begun<'v> {
    /// Of a chat in OpenAI's shape: its last message, if that is the assistant's and nothing but text.
    pub(super) fn of(chat: &'v Value) -> Option<Self> {
        let (last, before) = chat["messages"].as_array()?.split_last()?;
        if last["role"] != "assistant" || last.get("tool_calls").is_some() {
            return None;
        }
        let text = match &last["content"] {
            Value::String(text) => text.as_str().into(),
            Value::Array(parts) => {
                let texts = parts.iter().map(|part| part["text"].as_str());
                texts.collect::<Option<String>>()?.into()
            }
            _ => return None,
        };
        let before = serde_json::json!({ "messages": before });
        Some(Self { text, prompt: prompt(&before) })
    }

    /// The same, of a body that is read leniently; most have no such message, and are not read for it.
    pub(super) fn of_body<T>(body: &[u8], look: impl FnOnce(Option<&Begun<'_>>) -> T) -> T {
        let may_have_one = memchr::memmem::find(body, br#""assistant""#).is_some();
        let chat = may_have_one.then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
        look(chat.as_ref().and_then(Begun::of).as_ref())
    }

    /// What of a text comes after it; None for a text that begins otherwise. White space at the end of the beginning is as good as that of the
    /// text, whichever it is: it is not said again.
    pub(super) fn rest<'t>(&self, whole: &'t str) -> Option<&'t str> {
        let rest = whole.strip_prefix(&*self.text);
        rest.or_else(|| {
            let said = self.text.trim_end();
            let rest = whole.strip_prefix(said).filter(|_| said.len() < self.text.len())?;
            Some(rest.trim_start())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_assistants_text_at_the_end_is_the_beginning_of_an_answer() {
        let user = json!({ "role": "user", "content": "Hi" });
        let table = [
            (json!({ "role": "assistant", "content": "One" }), Some("One")),
            (
                json!({ "role": "assistant", "content": [{ "type": "text", "text": "O" }, { "type": "text", "text": "ne" }] }),
                Some("One"),
            ),
            (json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }] }), None),
            (json!({ "role": "assistant", "content": "One", "tool_calls": [] }), None),
            (json!({ "role": "assistant", "content": null }), None),
            (json!({ "role": "user", "content": "One" }), None),
        ];
        for (last, expected) in table {
            let chat = json!({ "messages": [user, last] });
            let begun = Begun::of(&chat);
            assert_eq!(begun.as_ref().map(|begun| &*begun.text), expected, "{last}");
            if let Some(begun) = begun {
                assert_eq!(begun.prompt.hash, prompt(&json!({ "messages": [user] })).hash);
            }
        }
        assert!(Begun::of(&json!({ "messages": [] })).is_none() && Begun::of(&json!(5)).is_none());
    }

    #[test]
    fn the_rest_begins_where_the_beginning_ends_and_says_no_white_space_again() {
        let whole = "One two\nthree";
        let table = [
            ("", Some(whole)),
            ("One", Some(" two\nthree")),
            ("One ", Some("two\nthree")),
            ("One two", Some("\nthree")),
            ("One two \n", Some("three")),
            ("One two  ", Some("three")),
            ("One tw", Some("o\nthree")),
            ("One two\nthree", Some("")),
            ("Two", None),
            ("One two\nthree four", None),
        ];
        for (text, expected) in table {
            let begun = Begun { text: text.into(), prompt: Digest::default() };
            assert_eq!(begun.rest(whole), expected, "{text:?}");
        }
    }
}

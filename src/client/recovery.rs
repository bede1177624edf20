//! What becomes of a stream that broke after its reader has seen a part of it: it fails, begins again, or goes on where it broke.
//!
//! Going on is asking a target to finish what it is given as its own beginning (a prefill). Some providers refuse one that ends in white
//! space (Anthropic does), and a model that is given none may begin with some. So the white space at the end of what was seen is not sent, and
//! as much of it as the continuation begins with is taken off again: at the seam no character is there twice, and none is missing.

use std::borrow::Cow;

use crate::config::Recover;
use crate::protocol::openai::{Chunk, Completion};

/// Of one call, through all its attempts.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    wanted: Recover,
    /// What the next content is preceded by: what was seen before it counts no more.
    restarts: bool,
    seam: Option<Seam>,
}

#[derive(Debug)]
struct Seam {
    /// What was seen, without the white space at its end.
    prefill: String,
    /// That white space, which the continuation may begin with, and how much of it the one under way has had.
    space: String,
    again: usize,
    /// Whether the continuation has got beyond it.
    is_closed: bool,
}

impl Recovery {
    pub(super) fn new(wanted: Recover) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// A part was seen, and nothing more comes: whether another attempt may take over.
    pub(super) fn prepare(&mut self, seen: &Completion) -> bool {
        match self.wanted {
            Recover::None => false,
            Recover::Restart => {
                self.restarts = true;
                true
            }
            Recover::Continue => {
                let Some(text) = seen.plain_text() else { return false };
                let prefill = text.trim_end();
                let space = text[prefill.len()..].to_owned();
                self.seam = Some(Seam { prefill: prefill.to_owned(), space, again: 0, is_closed: false });
                true
            }
        }
    }

    /// Another attempt begins. Whether what was gathered stays, and is gone on with.
    pub(super) fn begin(&mut self) -> bool {
        let Some(seam) = &mut self.seam else { return false };
        // One before it may have broken when it had said no more than this white space.
        (seam.again, seam.is_closed) = (0, false);
        true
    }

    /// What the next attempt is given as the beginning of its answer.
    pub(super) fn prefill(&self) -> Option<&str> {
        self.seam.as_ref().map(|seam| &*seam.prefill).filter(|prefill| !prefill.is_empty())
    }

    /// Whether the restart is to be signalled now, before the first content of an attempt.
    pub(super) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restarts)
    }

    /// A chunk without the white space that was seen already.
    pub(super) fn join<'a>(&mut self, json: &'a str) -> Cow<'a, str> {
        let Some(seam) = self.seam.as_mut().filter(|seam| !seam.is_closed) else { return json.into() };
        let Ok(chunk) = Chunk::of(json) else { return json.into() };
        let Some(span) = chunk.content_span(json) else { return json.into() };
        let text = chunk.text();
        if text.is_empty() {
            return json.into();
        }
        let space = seam.space.get(seam.again..).unwrap_or_default();
        let again = text.chars().zip(space.chars()).take_while(|(new, seen)| new == seen);
        let again: usize = again.map(|(new, _)| new.len_utf8()).sum();
        seam.is_closed = again < text.len() || again == space.len();
        seam.again += again;
        if again == 0 {
            return json.into();
        }
        // A string always has a text.
        let rest = serde_json::to_string(&text[again..]).unwrap_or_default();
        format!("{}{rest}{}", &json[..span.start], &json[span.end..]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> String {
        serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string()
    }

    fn seen(texts: &[&str]) -> Completion {
        let mut completion = Completion::default();
        for text in texts {
            completion.add(&Chunk::of(&chunk(text)).unwrap()).unwrap();
        }
        completion
    }

    /// What a reader ends with, who saw `before` and is then handed the continuation in these pieces.
    fn joined(before: &str, after: &[&str]) -> String {
        let mut recovery = Recovery::new(Recover::Continue);
        assert!(recovery.prepare(&seen(&[before])));
        let pieces = after.iter().map(|text| {
            let json = chunk(text);
            let json = recovery.join(&json).into_owned();
            Chunk::of(&json).unwrap().text().to_owned()
        });
        format!("{before}{}", pieces.collect::<String>())
    }

    #[test]
    fn at_the_seam_no_character_is_there_twice_and_none_is_missing() {
        for (before, after, whole) in [
            ("Hello", &[" world"][..], "Hello world"),
            ("Hello ", &[" world"], "Hello world"),
            ("Hello ", &["world"], "Hello world"),
            ("Hello ", &[" ", "world"], "Hello world"),
            ("Hello ", &["", "", " ", " world"], "Hello  world"),
            ("a\n\n", &["\n", "\n", "b"], "a\n\nb"),
            ("a\n", &["\n\nb"], "a\n\nb"),
            ("a \u{3000}", &[" \u{3000}ä"], "a \u{3000}ä"),
            ("a ", &["\tb"], "a \tb"),
            ("a ", &[" b", " c"], "a b c"),
            ("ab", &["ab"], "abab"),
        ] {
            assert_eq!(joined(before, after), whole, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_continuation_that_breaks_within_the_seam_leaves_it_as_it_was() {
        let mut recovery = Recovery::new(Recover::Continue);
        assert!(recovery.prepare(&seen(&["One,\n\n"])));
        for text in ["\n", "\n\n", "\n\ntwo", "two"] {
            assert!(recovery.begin());
            let json = chunk(text);
            let joined = recovery.join(&json).into_owned();
            assert_eq!(Chunk::of(&joined).unwrap().text(), text.trim_start(), "{text:?}");
        }
    }

    #[test]
    fn what_was_seen_is_given_without_the_white_space_at_its_end() {
        let mut recovery = Recovery::new(Recover::Continue);
        assert!(recovery.prepare(&seen(&["One, ", "two, "])));
        assert_eq!(recovery.prefill(), Some("One, two,"));
        assert!(recovery.prepare(&seen(&[" \n"])));
        assert!(recovery.begin() && recovery.prefill().is_none());
    }

    #[test]
    fn only_a_plain_text_is_gone_on_with() {
        let with = |choices: serde_json::Value| {
            let mut completion = seen(&["text"]);
            let json = serde_json::json!({ "choices": choices }).to_string();
            completion.add(&Chunk::of(&json).unwrap()).unwrap();
            Recovery::new(Recover::Continue).prepare(&completion)
        };
        assert!(with(serde_json::json!([])));
        let call = serde_json::json!({"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}});
        let other = serde_json::json!({"index": 1, "delta": {"content": "b"}});
        let thought = serde_json::json!({"index": 0, "delta": {"reasoning_content": "hm"}});
        let finished = serde_json::json!({"index": 0, "delta": {}, "finish_reason": "stop"});
        for one in [call, other, thought, finished] {
            assert!(!with(serde_json::json!([one])), "{one}");
        }
    }

    #[test]
    fn a_restart_is_signalled_once_for_each_break() {
        let mut recovery = Recovery::new(Recover::Restart);
        assert!(!recovery.take_restart());
        assert!(recovery.prepare(&seen(&["a"])));
        assert!(!recovery.begin() && recovery.prefill().is_none());
        assert!(recovery.take_restart() && !recovery.take_restart());
        assert!(!Recovery::new(Recover::None).prepare(&seen(&["a"])));
    }
}

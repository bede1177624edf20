//! What the chunks of a chat repeat.
//!
//! Most chunks differ from the one before in nothing but the text of their delta. What stands around it was read once: where it stands
//! there again, only the text is read.

use std::borrow::Cow;
use std::ops::Range;

use super::chunk::Chunk;
use crate::protocol::json::Text;

/// What stood around the text of the last chunk, if that said nothing else of its answer.
#[derive(Debug, Default)]
pub struct Refrain {
    before: String,
    after: String,
    /// Of the choice.
    index: usize,
}

/// What is new in a chunk.
#[derive(Debug, PartialEq, Eq)]
pub struct Verse<'a> {
    pub text: Cow<'a, str>,
    /// Where it stands, quotes included.
    pub span: Range<usize>,
    /// Of the choice.
    pub index: usize,
}

impl Refrain {
    /// Notes what stands around the text of a chunk, which was read from `json`.
    pub fn note(&mut self, chunk: &Chunk<'_>, json: &str) {
        self.forget();
        let Some(Range { start, end }) = chunk.content_span(json) else { return };
        let Some(choice) = chunk.choices().first().filter(|_| chunk.says_only_text()) else { return };
        // The buffers are kept: some providers put other padding into each chunk.
        self.before.push_str(&json[..start]);
        self.after.push_str(&json[end..]);
        self.index = choice.index;
    }

    pub fn forget(&mut self) {
        self.before.clear();
        self.after.clear();
    }

    /// What is new in a chunk that is as the last one in all but its text; None for any other.
    pub fn verse<'a>(&self, json: &'a str) -> Option<Verse<'a>> {
        // An object has something before its text.
        if self.before.is_empty() {
            return None;
        }
        let rest = json.strip_prefix(&*self.before)?;
        let text = rest.strip_suffix(&*self.after)?;
        let span = self.before.len()..self.before.len() + text.len();
        // One string and nothing else, or it ended before what looks like the rest.
        let Text(text) = serde_json::from_str(text).ok()?;
        Some(Verse { text, span, index: self.index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refrain(json: &str) -> Refrain {
        let mut refrain = Refrain::default();
        refrain.note(&Chunk::of(json).unwrap(), json);
        refrain
    }

    const FIRST: &str = r#"{"id":"c","choices":[{"index":2,"delta":{"content":"a"}}],"usage":null}"#;

    #[test]
    fn a_chunk_with_another_text_is_read_for_its_text_alone() {
        let json = FIRST.replace(r#""a""#, r#""\u00e9 \"b\"""#);
        let Verse { text, span, index } = refrain(FIRST).verse(&json).unwrap();
        assert_eq!((&*text, &json[span], index), ("é \"b\"", r#""\u00e9 \"b\"""#, 2));
    }

    #[test]
    fn a_chunk_with_anything_else_in_it_is_read_anew() {
        for (now, then) in [
            (r#""a""#, r#""a","role":"assistant""#),
            (r#""a""#, r#""a"}},{"index":0,"delta":{"content":"b""#),
            (r#""a""#, "null"),
            (r#""a""#, "\"a\n\""),
            (r#""a""#, r#""a"#),
            (r#""id":"c""#, r#""id":"d""#),
            (r#""usage":null"#, r#""usage":{}"#),
        ] {
            assert_eq!(refrain(FIRST).verse(&FIRST.replace(now, then)), None, "{then}");
        }
    }

    #[test]
    fn what_says_more_than_a_text_is_no_refrain() {
        for more in [
            r#"{"error":{},"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"usage":{},"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"native_finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","refusal":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","reasoning":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","reasoning_content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","tool_calls":[]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","function_call":{}}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","images":[1]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","extra_content":1}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","thinking_blocks":[1]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","citations":[1]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","annotations":[1]}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            r#"{"choices":[]}"#,
        ] {
            assert_eq!(refrain(more).verse(more), None, "{more}");
        }
    }
}

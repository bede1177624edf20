//! The blocks of an answer, as far as a caller has to send them back. See the module's head for the rules.

use std::borrow::Cow;

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Thinking, redacted or not.
    Thinking,
    Text,
    Call,
    /// Anything that OpenAI's shape has no place for.
    Other,
}

impl Kind {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "thinking" | "redacted_thinking" => Self::Thinking,
            "text" => Self::Text,
            "tool_use" => Self::Call,
            _ => Self::Other,
        }
    }
}

/// Gathers the blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks<'a> {
    blocks: Vec<(Kind, Cow<'a, str>)>,
    /// Whether a block came of which a part is unknown.
    incomplete: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn add(&mut self, kind: Kind, raw: impl Into<Cow<'a, str>>) {
        self.blocks.push((kind, raw.into()));
    }

    pub(super) fn miss(&mut self) {
        self.incomplete = true;
    }

    /// `thinking_blocks`: the thinking where all else comes back from OpenAI's shape as it was; else every block. A message
    /// with thinking must come back as it was, and texts come out joined.
    pub(super) fn to_json(&self) -> Option<String> {
        let count = |wanted: Kind| self.blocks.iter().filter(|(kind, _)| *kind == wanted).count();
        let plain = self.blocks.is_sorted_by_key(|(kind, _)| *kind)
            && count(Kind::Other) == 0
            && (count(Kind::Thinking) == 0 || count(Kind::Text) < 2);
        let only_thinking = plain || self.incomplete;
        let mut json = String::from("[");
        for (_, raw) in self.blocks.iter().filter(|(kind, _)| !only_thinking || *kind == Kind::Thinking) {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(raw);
        }
        json.push(']');
        (json.len() > 2).then_some(json)
    }
}

/// What of an answer's first text is left, where the white space in `trimmed` was taken off the prefill before it: the caller
/// has that already. `trimmed` is what may still come.
pub(super) fn without_trimmed<'t>(text: &'t str, trimmed: &mut String) -> &'t str {
    let same = text.char_indices().zip(trimmed.char_indices()).take_while(|((_, a), (_, b))| a == b);
    let common = same.last().map_or(0, |((at, char), _)| at + char.len_utf8());
    if common == text.len() {
        trimmed.drain(..common);
    } else {
        trimmed.clear();
    }
    &text[common..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(blocks: &[(Kind, &'static str)]) -> Option<String> {
        let mut gathered = Blocks::default();
        blocks.iter().for_each(|(kind, raw)| gathered.add(*kind, *raw));
        gathered.to_json()
    }

    #[test]
    fn thinking_alone_is_sent_back_where_all_else_has_a_place() {
        assert_eq!(json(&[(Kind::Text, "1"), (Kind::Call, "2")]), None);
        assert_eq!(json(&[(Kind::Thinking, "1"), (Kind::Text, "2"), (Kind::Call, "3")]).unwrap(), "[1]");
    }

    #[test]
    fn every_block_is_sent_back_where_the_order_or_a_block_has_no_place() {
        assert_eq!(json(&[(Kind::Call, "1"), (Kind::Thinking, "2")]).unwrap(), "[1,2]");
        assert_eq!(json(&[(Kind::Text, "1"), (Kind::Other, "2")]).unwrap(), "[1,2]");
        assert_eq!(json(&[(Kind::Thinking, "1"), (Kind::Text, "2"), (Kind::Text, "3")]).unwrap(), "[1,2,3]");
    }

    #[test]
    fn white_space_that_the_caller_has_is_taken_off_once_however_it_comes() {
        for (pieces, rest) in [
            (vec![" world"], "world"),
            (vec![" ", "\n", " x"], " x"),
            (vec!["a", " b"], "a b"),
            (vec![""], ""),
        ] {
            let mut trimmed = " \n".to_owned();
            let got: String = pieces.iter().map(|piece| without_trimmed(piece, &mut trimmed)).collect();
            assert_eq!(got, rest);
        }
    }
}

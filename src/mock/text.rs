//! Texts and numbers that look made up but are the same for the same seed.

const WORDS: [&str; 64] = [
    "trunk",
    "line",
    "signal",
    "carries",
    "steady",
    "quiet",
    "across",
    "harbor",
    "between",
    "stations",
    "early",
    "light",
    "moves",
    "along",
    "copper",
    "wires",
    "while",
    "operators",
    "listen",
    "patiently",
    "every",
    "call",
    "finds",
    "its",
    "own",
    "path",
    "through",
    "crowded",
    "boards",
    "until",
    "answered",
    "gently",
    "some",
    "messages",
    "wait",
    "others",
    "hurry",
    "past",
    "open",
    "windows",
    "under",
    "silver",
    "towers",
    "where",
    "distant",
    "voices",
    "gather",
    "again",
    "before",
    "morning",
    "breaks",
    "over",
    "hills",
    "rivers",
    "carry",
    "older",
    "songs",
    "toward",
    "sleeping",
    "towns",
    "and",
    "nothing",
    "is",
    "lost",
];

/// A number that follows from two others and shows neither (splitmix64).
pub(super) fn mix(seed: u64, value: u64) -> u64 {
    let mut z = seed.rotate_left(32) ^ value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `hash`, going on over `bytes`, eight at a time: prompts are long, and this is on the fast way.
pub(super) fn hash(mut hash: u64, bytes: &[u8]) -> u64 {
    for eight in bytes.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(eight).for_each(|(to, from)| *to = *from);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    hash ^ bytes.len() as u64
}

/// A sentence of about 40 tokens.
pub(super) fn sentence(seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut text = String::with_capacity(280);
    for position in 0..rng.usize(36..=44) {
        let word = WORDS.get(rng.usize(..WORDS.len())).copied().unwrap_or("line");
        match position {
            0 => {
                text.push_str(&word[..1].to_uppercase());
                text.push_str(&word[1..]);
                continue;
            }
            _ if position % 11 == 10 => text.push(','),
            _ => {}
        }
        text.push(' ');
        text.push_str(word);
    }
    text.push('.');
    text
}

/// The tokens of a text: its words, each with the space before it. They join to the text again.
pub(super) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && in_word {
            tokens.push(&text[start..at]);
            start = at;
        }
        in_word = !c.is_whitespace();
    }
    if start < text.len() {
        tokens.push(&text[start..]);
    }
    tokens
}

/// A text in `count` parts of about the same length; some are empty where it has fewer characters.
pub(super) fn split(text: &str, count: usize) -> Vec<&str> {
    let count = count.max(1);
    let mut parts = Vec::with_capacity(count.min(text.len() + 1));
    let mut start = 0;
    for part in 1..=count {
        let mut end = text.len() * part / count;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        parts.push(&text[start..end]);
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_join_to_the_text_again() {
        for text in ["", " ", "one", "one two", "  one  two\n", "ä ö ü — “x”"] {
            assert_eq!(tokens(text).concat(), text);
        }
        assert_eq!(tokens("one two three").len(), 3);
    }

    #[test]
    fn a_text_is_split_in_as_many_parts_as_asked_for() {
        assert_eq!(split("abcdef", 3), ["ab", "cd", "ef"]);
        assert_eq!(split("äöü", 2).concat(), "äöü");
        assert_eq!(split("a", 4).len(), 4);
    }

    #[test]
    fn a_sentence_has_about_forty_tokens_and_follows_from_its_seed() {
        assert!((36..=44).contains(&tokens(&sentence(7)).len()));
        assert_eq!(sentence(7), sentence(7));
        assert_ne!(sentence(7), sentence(8));
    }
}

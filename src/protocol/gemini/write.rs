//! JSON, written as text.

use crate::protocol::json::{after_string, quote};

/// What separates the next member or item from what was written before it.
pub(super) fn comma(out: &mut String) {
    // Any value ends in something else.
    if !matches!(out.as_bytes().last(), None | Some(b'{' | b'[')) {
        out.push(',');
    }
}

/// A member's name; its value has to follow.
pub(super) fn name(out: &mut String, name: &str) {
    comma(out);
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
}

/// A member with a value that is JSON already.
pub(super) fn member(out: &mut String, key: &str, raw: &str) {
    name(out, key);
    out.push_str(raw);
}

/// A member whose value is a text.
pub(super) fn text_member(out: &mut String, key: &str, text: &str) {
    member(out, key, &quote(text));
}

/// JSON without the white space between its tokens; everything else stays as it stands.
pub(super) fn compact(out: &mut String, raw: &str) {
    let bytes = raw.as_bytes();
    let (mut from, mut at) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = after_string(bytes, at),
            b' ' | b'\n' | b'\r' | b'\t' => {
                out.push_str(&raw[from..at]);
                at += 1;
                from = at;
            }
            _ => at += 1,
        }
    }
    out.push_str(&raw[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn white_space_goes_only_between_tokens_and_numbers_keep_their_text() {
        let mut out = String::new();
        compact(&mut out, "{\n \"a b\" : [ 1.0, -2e+07 ,\"\\\" \\\\\" ] ,\t\"é\": { } }");
        assert_eq!(out, r#"{"a b":[1.0,-2e+07,"\" \\"],"é":{}}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_compacted_without_a_panic(text in ".*") {
            compact(&mut String::new(), &text);
        }
    }
}

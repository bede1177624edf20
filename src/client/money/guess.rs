//! Tokens where nobody has counted them: four bytes a token, OpenAI's rule of thumb for English ("What are tokens and how to count them?").
//! Of a request that counts the JSON around the text too.

use memchr::memmem;

use crate::policy::learn::estimate_tokens;

/// An image or a file that is in the request itself is bytes, and not text. About what providers count for an image.
const ATTACHED: u64 = 1000;
/// What is shorter has none.
const SMALL: usize = 4096;
const BASE64: &[u8] = b";base64,";

/// Of the prompt.
pub(super) fn prompt(body: &[u8]) -> u64 {
    if body.len() < SMALL {
        return estimate_tokens(body.len(), Some(0), 1);
    }
    let (mut text, mut attached) = (body.len(), 0);
    for at in memmem::find_iter(body, BASE64) {
        let data = body.get(at + BASE64.len()..).unwrap_or_default();
        let end = memchr::memchr(b'"', data).unwrap_or(data.len());
        text = text.saturating_sub(end);
        attached += ATTACHED;
    }
    estimate_tokens(text, Some(attached), 1)
}

/// Of an answer's text.
pub(super) fn answer(bytes: usize) -> u64 {
    estimate_tokens(bytes, Some(0), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_not_counted_by_its_bytes() {
        let image = |bytes| format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "A".repeat(bytes));
        let text = "word ".repeat(1000);
        let (plain, with) =
            (prompt(text.as_bytes()), prompt(format!("{text}{}", image(1_000_000)).as_bytes()));
        assert_eq!(plain, 1250);
        assert!((2250..2270).contains(&with), "{with}");
    }
}

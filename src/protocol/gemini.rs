//! Gemini's generateContent and streamGenerateContent, for callers who speak OpenAI's chat.
//!
//! The shapes are those of Google's API reference (ai.google.dev/api/generate-content, v1beta) and of its own
//! JavaScript client. `docs/protocols/gemini.md` tells users what is translated, dropped and refused.
//!
//! **Thought signatures** are what a thinking model wants back with the next request; Gemini 3 refuses function calls
//! without. They stand where Google's own OpenAI endpoint puts them: `extra_content.google.thought_signature` of the tool
//! call, or of the message for one that came with text. A caller who sends the assistant's message back as it was sends
//! them too. Calls that another model made have none; for models that insist, the first call of such a message gets the
//! value that Google documents for it (ai.google.dev/gemini-api/docs/thought-signatures).
//!
//! **Parts that OpenAI has no name for** (code that was run, its result, files that are no images) are in
//! `extra_content.google.parts`, raw, and are sent back from there; sources are beside them as `grounding_metadata`,
//! `url_context_metadata` and `citation_metadata`. Images are `images`, as OpenRouter and LiteLLM have them.
//!
//! **The end of a stream** is the end of its body: there is no `[DONE]`. [`Events::finish`], called there, gives the finish
//! reasons and the usage.
//!
//! | file | idea |
//! |---|---|
//! | `request` | a chat request: what of it goes where |
//! | `messages` | messages as contents |
//! | `media` | images, audio and files as parts |
//! | `tools` | tools and the choice among them |
//! | `config` | everything about how to generate |
//! | `write` | JSON, written as text |
//! | `shape` | an answer's own shape |
//! | `said` | what the parts of an answer say, in OpenAI's words |
//! | `reason` | why an answer ended |
//! | `usage` | tokens |
//! | `answer` | a whole answer |
//! | `stream` | an answer in events |
//! | `error` | errors |
//! | `embed` | embeddings |

mod answer;
mod config;
pub mod embed;
mod error;
mod media;
mod messages;
mod reason;
mod request;
mod said;
mod shape;
mod stream;
mod tools;
mod usage;
mod write;

pub use self::answer::answer;
pub use self::error::{error_fields, retry_delay};
pub use self::request::request;
pub use self::stream::Events;

/// Whose protocol it is, in messages.
const NAME: &str = "Gemini";

/// The header that a key goes in, as it is.
pub const KEY_HEADER: &str = "x-goog-api-key";

/// What an answer's translation has to know of its request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// How many choices were asked for; 0 stands for 1.
    pub choices: usize,
    /// What the model was called, for answers that do not say.
    pub model: String,
}

/// Path and query below the base URL (`https://generativelanguage.googleapis.com/v1beta`) for a chat.
pub fn chat_path(model: &str, stream: bool) -> String {
    let method = if stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" };
    format!("/{}{method}", resource(model))
}

/// A model's resource name. Whatever could end the name, the path or the query is escaped.
fn resource(model: &str) -> String {
    let (collection, name) = match model.split_once('/') {
        Some((collection @ ("models" | "tunedModels"), name)) => (collection, name),
        _ => ("models", model),
    };
    let mut out = String::with_capacity(collection.len() + 1 + name.len());
    out.push_str(collection);
    out.push('/');
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_models_name_leads_to_its_path_with_or_without_its_collection() {
        assert_eq!(
            chat_path("gemini-3-flash-preview", false),
            "/models/gemini-3-flash-preview:generateContent"
        );
        assert_eq!(
            chat_path("models/gemini-2.5-pro", true),
            "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
        );
        assert_eq!(chat_path("tunedModels/mine-1", false), "/tunedModels/mine-1:generateContent");
    }

    #[test]
    fn no_name_leaves_its_place_in_the_path() {
        assert_eq!(
            chat_path("../../files?x=1#", false),
            "/models/..%2F..%2Ffiles%3Fx%3D1%23:generateContent"
        );
        assert_eq!(chat_path("models/a/b:c", false), "/models/a%2Fb%3Ac:generateContent");
        assert_eq!(chat_path("a\r\nHost: b", false), "/models/a%0D%0AHost%3A%20b:generateContent");
    }

    proptest! {
        #[test]
        fn every_name_is_one_segment(model in ".*") {
            let path = chat_path(&model, false);
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(path.matches('/').count(), 2);
            prop_assert_eq!(path.matches([':', '?', '#']).count(), 1);
        }
    }
}

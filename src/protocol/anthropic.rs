//! Anthropic's Messages API (`POST /v1/messages`), for requests and answers in OpenAI's chat shape.
//!
//! | file | what |
//! | --- | --- |
//! | `request.rs` | the request, and what is left out or refused; `options.rs` its options |
//! | `messages.rs` | messages as turns of blocks, `parts.rs` the parts of their contents |
//! | `tools.rs` | tools and the choice among them |
//! | `thinking.rs` | `reasoning_effort` as thinking, `model.rs` what a model takes by its name |
//! | `answer.rs` | a whole answer, `stream.rs` its events, `blocks.rs` what can be sent back, `usage.rs` tokens and ends |
//! | `error.rs` | what an error says of itself |
//!
//! **Thinking** comes out as `reasoning_content`, the text, and as `thinking_blocks`, a list of Anthropic's blocks with their
//! signatures, in the message of a whole answer and in one delta at the end of a stream. A message that is sent back with its
//! `thinking_blocks` gives the blocks back unchanged, before its text and its tool calls. Where that was not the order of the
//! answer (thinking between two calls, text in several blocks), or where it had blocks that OpenAI's shape has no place for
//! (tools that the provider runs itself), the list holds every block of the answer, and is taken for the whole of the message
//! when it comes back.
//!
//! Sources: the API reference at platform.claude.com/docs/en/api/messages, and the types of Anthropic's own SDKs.

mod answer;
mod blocks;
mod error;
mod messages;
mod model;
mod options;
mod parts;
mod request;
mod stream;
mod thinking;
mod tools;
mod usage;

pub use self::answer::answer;
pub use self::error::error_fields;
pub use self::model::takes_prefill;
pub use self::request::{DEFAULT_MAX_TOKENS, request};
pub use self::stream::Events;

/// Whose protocol it is, in messages.
const NAME: &str = "Anthropic";

/// The header that the key is in, as it is.
pub const KEY_HEADER: &str = "x-api-key";

/// The header that every request must have, with the version that this translation was written for.
pub const VERSION_HEADER: (&str, &str) = ("anthropic-version", "2023-06-01");

/// What an answer's translation has to know of its request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// White space that was taken off the end of a prefill, which the API refuses. Where the answer begins with it, it is taken
    /// off there: what the caller sent is followed by what they get.
    pub trimmed: String,
}

/// The path of a chat below a base URL such as `https://api.anthropic.com/v1`.
pub fn chat_path(_model: &str, _stream: bool) -> String {
    "/messages".to_owned()
}

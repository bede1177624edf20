//! What a translation of a chat gives: every protocol that is not OpenAI's has the same few functions, in these types.

use std::borrow::Cow;

/// A request in the target's own protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated<C> {
    pub body: String,
    /// Paths of what the request asked for and the target has no words for, where leaving it out is documented: `seed`,
    /// `logit_bias`. Told to the caller.
    pub dropped: Vec<Cow<'static, str>>,
    /// What the answer's translation has to know of its request.
    pub context: C,
}

/// A request that the target cannot express. The caller's mistake or the target's limit: nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexpressible {
    /// Where, without "request.": `messages[2].content[0].image_url`. Empty for the request itself.
    pub path: String,
    /// `must be …, got a number`, or `cannot be said in …'s protocol: …`.
    pub message: String,
}

/// An answer that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What comes after an event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    More,
    /// It said itself that it is over.
    Done,
    /// The provider's own error, as a JSON text whose `error` member [`ErrorFields`](super::openai::ErrorFields) understands.
    Error(String),
}

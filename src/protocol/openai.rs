//! OpenAI's shapes: what policy reads of a request, what an answer and a chunk say, what an error means.

mod chunk;
mod completion;
mod error;
mod history;
mod refrain;
mod usage;

pub use self::chunk::{Chunk, Said};
pub use self::completion::{Completion, Refused};
pub use self::error::{ErrorClass, ErrorFields, class_of};
pub(super) use self::history::without_foreign;
pub use self::refrain::{Refrain, Verse};
pub use self::usage::Usage;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Members, NotAnObject, Text};

/// What policy needs of a request, read without building a document of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub model: Option<String>,
    /// Whether a stream is asked for.
    pub stream: bool,
    /// How many choices were asked for.
    pub choices: usize,
    /// Whether the caller wants the usage chunk of a stream.
    pub include_usage: bool,
    /// The most tokens of each choice.
    pub max_tokens: Option<u64>,
}

impl Asked {
    pub fn of(members: &Members<'_>) -> Self {
        #[derive(Deserialize)]
        struct StreamOptions {
            include_usage: Option<bool>,
        }
        Self {
            model: members.value::<String>("model"),
            stream: members.value::<bool>("stream").unwrap_or(false),
            choices: members.value::<usize>("n").unwrap_or(1).max(1),
            max_tokens: members
                .value::<u64>("max_completion_tokens")
                .or_else(|| members.value::<u64>("max_tokens")),
            include_usage: members
                .value::<StreamOptions>("stream_options")
                .and_then(|options| options.include_usage)
                .unwrap_or(false),
        }
    }
}

/// A chat request as a stream on the wire, usage included: asked for by us where the caller has no options of
/// their own.
pub fn as_stream(body: &str) -> Result<String, NotAnObject> {
    let members = Members::of(body)?;
    let streaming = members.with("stream", "true");
    if members.raw("stream_options").is_some_and(|options| options != "null") {
        return Ok(streaming);
    }
    Ok(Members::of(&streaming)?.with("stream_options", r#"{"include_usage":true}"#))
}

/// A chat request as one answer on the wire.
pub fn as_unary(body: &str) -> Result<String, NotAnObject> {
    Ok(Members::of(body)?.with("stream", "false"))
}

/// A request of another model.
pub fn with_model(body: &str, model: &str) -> Result<String, NotAnObject> {
    // A string always has a text.
    Ok(Members::of(body)?.with("model", &serde_json::to_string(model).unwrap_or_default()))
}

/// What a whole answer says of itself.
#[derive(Debug, Deserialize)]
pub struct Answer<'a> {
    #[serde(borrow)]
    pub model: Option<Text<'a>>,
    #[serde(borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    /// How it was served, which it may be charged by.
    #[serde(borrow)]
    pub service_tier: Option<Text<'a>>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Answer<'_> {
    /// Whether it has the list that a chat's answer has.
    pub fn has_choices(&self) -> bool {
        self.choices.is_some_and(is_list)
    }

    /// The same of an answer of vectors.
    pub fn has_vectors(&self) -> bool {
        self.data.is_some_and(is_list)
    }
}

fn is_list(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

/// Bytes of the texts of a whole answer; none where it is no chat's.
pub fn text_bytes(body: &str) -> usize {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow, default)]
        choices: Vec<Choice<'a>>,
    }
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow)]
        message: Option<&'a RawValue>,
    }
    let body: Option<Body<'_>> = serde_json::from_str(body).ok();
    let messages = body.into_iter().flat_map(|body| body.choices).filter_map(|choice| choice.message);
    // Tool calls are texts too, and what a message has beside its texts is little.
    let texts = messages.map(|message| {
        let members = Members::of(message.get()).ok();
        let texts = members.iter().flat_map(|members| members.iter());
        texts.filter(|(name, raw)| *name != "role" && *raw != "null").map(|(_, raw)| raw.len()).sum::<usize>()
    });
    texts.sum()
}

/// What an answer of another shape says of itself.
#[derive(Debug)]
pub struct Native {
    pub model: Option<String>,
    pub usage: Box<RawValue>,
    pub tier: Option<String>,
}

/// Of a whole answer.
pub fn native(body: &str) -> Option<Native> {
    has_usage(body).then(|| Members::of(body).ok())?.as_ref().and_then(native_of)
}

/// Of one event of a stream: Anthropic has it in the message that begins and beside the delta that ends it, the Responses API in the response.
pub fn native_event(event: &str) -> Option<Native> {
    let members = has_usage(event).then(|| Members::of(event).ok())??;
    native_of(&members).or_else(|| {
        let inner = ["message", "response"].into_iter().find_map(|name| members.raw(name))?;
        Members::of(inner).ok().as_ref().and_then(native_of)
    })
}

/// Most have none, and are not read.
fn has_usage(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), b"\"usage\"").is_some()
}

fn native_of(members: &Members<'_>) -> Option<Native> {
    let usage = members.raw("usage").filter(|usage| usage.starts_with('{'))?;
    let usage = RawValue::from_string(usage.to_owned()).ok()?;
    Some(Native { model: members.value("model"), usage, tier: members.value("service_tier") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_asks_for_usage_unless_the_caller_has_options() {
        assert_eq!(
            as_stream(r#"{"model":"m","stream":false}"#).unwrap(),
            r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#
        );
        let own = r#"{"model":"m","stream_options":{"include_usage":false}}"#;
        assert_eq!(as_stream(own).unwrap(), format!(r#"{{"stream":true,{}"#, &own[1..]));
    }

    #[test]
    fn a_unary_call_never_asks_for_a_stream() {
        assert_eq!(as_unary(r#"{"stream":true}"#).unwrap(), r#"{"stream":false}"#);
    }

    #[test]
    fn what_policy_needs_is_read_and_odd_kinds_do_no_harm() {
        let asked = |text: &str| Asked::of(&Members::of(text).unwrap());
        assert_eq!(asked(r#"{"model":"m","n":3}"#).choices, 3);
        assert_eq!(
            asked(r#"{"model":7,"n":"x","stream_options":4}"#),
            Asked { choices: 1, ..Asked::default() }
        );
    }
}

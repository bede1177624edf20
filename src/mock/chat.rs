//! What a chat's answer says, before a protocol puts it into its own words.

use super::{
    begun::Begun,
    shapes::{MockAnswer, ToolCall},
    text,
};

/// Deltas of one answer at most, whatever `chunks` says.
const MAX_CHUNKS: usize = 100_000;
/// A tool call's arguments come in so many deltas.
pub(super) const ARGUMENT_DELTAS: usize = 4;

/// What a chat's answer is made of, apart from the usage, which goes with the request.
#[derive(Debug)]
pub(super) struct Chat<'a> {
    pub(super) model: &'a str,
    pub(super) choices: u32,
    /// Of the default texts, and of the id.
    pub(super) seed: u64,
    /// A test's own words, in place of the default text.
    pub(super) said: Option<&'a MockAnswer>,
    /// What was said of the answer already; only the rest of it is said.
    pub(super) begun: Option<&'a Begun<'a>>,
}

/// Tokens of a chat: of its prompt, and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tokens {
    pub(super) prompt: u64,
    /// Of the prompt's, those read from a cache and those written to it.
    pub(super) cached: u64,
    pub(super) cache_written: u64,
    pub(super) completion: u64,
    /// Of the completion's.
    pub(super) reasoning: u64,
}

impl Chat<'_> {
    /// A choice's text, if it has one, and the tokens of it and its tool calls.
    pub(super) fn content(&self, index: u32) -> (Option<String>, u64) {
        let Some(said) = self.said else {
            let text = self.rest(self.sentence(index));
            let tokens = text::tokens(&text).len() as u64;
            return (Some(text), tokens);
        };
        let content = match &said.content {
            None if said.tool_calls.is_empty() => Some(String::new()),
            content => content.clone().map(|text| self.rest(text)),
        };
        let arguments = said.tool_calls.iter().map(|call| call.function.arguments.len().div_ceil(4));
        let tokens = content.as_deref().map_or(0, |text| text::tokens(text).len()) + arguments.sum::<usize>();
        (content, tokens as u64)
    }

    /// The text of a choice where a test says nothing.
    pub(super) fn sentence(&self, index: u32) -> String {
        text::sentence(text::mix(self.seed, u64::from(index)))
    }

    /// A text that was not begun is said from its beginning.
    fn rest(&self, text: String) -> String {
        let rest = self.begun.and_then(|begun| begun.rest(&text));
        rest.map(str::to_owned).unwrap_or(text)
    }

    pub(super) fn parts<'t>(&self, content: &'t str) -> Vec<&'t str> {
        match self.said.and_then(|said| said.chunks) {
            Some(chunks) => {
                text::split(content, usize::try_from(chunks).unwrap_or(MAX_CHUNKS).min(MAX_CHUNKS))
            }
            None => text::tokens(content),
        }
    }

    pub(super) fn calls(&self) -> &[ToolCall] {
        self.said.map_or(&[], |said| &said.tool_calls)
    }

    /// In OpenAI's words, or whichever a test has given.
    pub(super) fn finish_reason(&self) -> &str {
        match self.said.and_then(|said| said.finish_reason.as_deref()) {
            Some(reason) => reason,
            None if self.calls().is_empty() => "stop",
            None => "tool_calls",
        }
    }

    /// The id of a tool call: the test's, or one of this prefix.
    pub(super) fn call_id(&self, at: usize, call: &ToolCall, prefix: &str) -> String {
        let made = || format!("{prefix}{:016x}", text::mix(self.seed, 100 + at as u64));
        call.id.clone().unwrap_or_else(made)
    }

    /// A number for the id of the answer.
    pub(super) fn id(&self) -> u64 {
        text::mix(self.seed, 1)
    }

    /// What a test gave as usage in OpenAI's words; or else as estimated.
    pub(super) fn tokens(&self, estimated: Tokens) -> Tokens {
        let Some(given) = self.said.and_then(|said| said.usage.as_ref()) else { return estimated };
        let number = |path: &[&str]| {
            let first = path.first().and_then(|name| given.get(*name));
            path.iter().skip(1).try_fold(first?, |value, name| value.get(*name))?.as_u64()
        };
        Tokens {
            prompt: number(&["prompt_tokens"]).unwrap_or(estimated.prompt),
            cached: number(&["prompt_tokens_details", "cached_tokens"]).unwrap_or(0),
            cache_written: number(&["prompt_tokens_details", "cache_creation_tokens"]).unwrap_or(0),
            completion: number(&["completion_tokens"]).unwrap_or(estimated.completion),
            reasoning: number(&["completion_tokens_details", "reasoning_tokens"]).unwrap_or(0),
        }
    }

    /// A usage of a test's that is in another provider's words already: it has this member.
    pub(super) fn native_usage(&self, member: &str) -> Option<String> {
        let usage = self.said?.usage.as_ref()?;
        usage.contains_key(member).then(|| serde_json::to_string(usage).unwrap_or_default())
    }
}

/// JSON text of a tool call's arguments as an object; what is none stays a text, which no client should take for one.
pub(super) fn object_text(arguments: &str) -> String {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(arguments) {
        Ok(_) => arguments.to_owned(),
        Err(_) => serde_json::Value::from(arguments).to_string(),
    }
}

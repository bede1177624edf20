//! Tokens that a provider reports, by whichever of the names that are in use.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What went in and what came out. The others are parts of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Of the prompt: read from a cache, written to one, and of these the ones that are kept for an hour.
    pub cached: u64,
    pub cache_write: u64,
    pub cache_write_hour: u64,
    pub audio: u64,
    /// Of the answer: what was thought.
    pub reasoning: u64,
}

/// Chat completions, with what relays and other providers put beside; the Responses API; Anthropic's own.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_tokens_details: Option<&'a RawValue>,
    /// DeepSeek's name for what was read from the cache.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(borrow, default)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
    /// Anthropic's, which are beside its input tokens and not among them.
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(borrow, default)]
    cache_creation: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Details<'a> {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
    #[serde(default)]
    audio_tokens: Option<u64>,
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    thinking_tokens: Option<u64>,
    #[serde(borrow, default)]
    cache_creation: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Kept {
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

impl Usage {
    pub fn of(raw: &RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    pub fn total(self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// What two reports of one answer say together, each of which counts from its beginning, and may leave something out.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            prompt_tokens: self.prompt_tokens.max(other.prompt_tokens),
            completion_tokens: self.completion_tokens.max(other.completion_tokens),
            cached: self.cached.max(other.cached),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_hour: self.cache_write_hour.max(other.cache_write_hour),
            audio: self.audio.max(other.audio),
            reasoning: self.reasoning.max(other.reasoning),
        }
    }

    /// As a chat's answer has it, without the parts.
    pub fn to_raw(self) -> Option<Box<RawValue>> {
        let Self { prompt_tokens, completion_tokens, .. } = self;
        let total = self.total();
        let json = format!(
            r#"{{"prompt_tokens":{prompt_tokens},"completion_tokens":{completion_tokens},"total_tokens":{total}}}"#
        );
        RawValue::from_string(json).ok()
    }
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::<'de>::deserialize(deserializer).map(Self::from)
    }
}

/// Details of another shape than these are none, and no reason to lose the rest.
fn details<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

impl From<Wire<'_>> for Usage {
    fn from(wire: Wire<'_>) -> Self {
        let input: Details<'_> = details(wire.prompt_tokens_details.or(wire.input_tokens_details));
        let output: Details<'_> = details(wire.completion_tokens_details.or(wire.output_tokens_details));
        let kept = wire.cache_creation.or(input.cache_creation);
        let kept: Kept = details(kept);
        let beside = [wire.cache_read_input_tokens, wire.cache_creation_input_tokens];
        let beside: u64 = beside.into_iter().flatten().fold(0, u64::saturating_add);
        let reasoning = output.reasoning_tokens.or(output.thinking_tokens).unwrap_or_default();
        let completion = wire.completion_tokens.or(wire.output_tokens).unwrap_or_default();
        let prompt = wire.prompt_tokens.or(wire.input_tokens).unwrap_or_default().saturating_add(beside);
        // xAI counts what was thought beside the answer, and in the total.
        let is_beside = reasoning > 0
            && wire.total_tokens == Some(prompt.saturating_add(completion).saturating_add(reasoning));
        Self {
            prompt_tokens: prompt,
            completion_tokens: if is_beside { completion.saturating_add(reasoning) } else { completion },
            cached: input
                .cached_tokens
                .or(wire.cache_read_input_tokens)
                .or(wire.prompt_cache_hit_tokens)
                .unwrap_or_default(),
            cache_write: input.cache_write_tokens.or(wire.cache_creation_input_tokens).unwrap_or_default(),
            cache_write_hour: kept.ephemeral_1h_input_tokens.unwrap_or_default(),
            audio: input.audio_tokens.unwrap_or_default(),
            reasoning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn usage(json: Value) -> Usage {
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn the_names_of_chat_completions_are_read_with_what_others_put_beside() {
        let read = usage(json!({
            "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": {
                "cached_tokens": 20, "cache_write_tokens": 30, "audio_tokens": 5,
                "cache_creation": {"ephemeral_1h_input_tokens": 10, "ephemeral_5m_input_tokens": 20},
            },
            "completion_tokens_details": {"reasoning_tokens": 40},
        }));
        let wanted = Usage {
            prompt_tokens: 100,
            completion_tokens: 50,
            cached: 20,
            cache_write: 30,
            cache_write_hour: 10,
            audio: 5,
            reasoning: 40,
        };
        assert_eq!(read, wanted);
        let deepseek = usage(json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}));
        assert_eq!((deepseek.prompt_tokens, deepseek.cached), (9, 4));
    }

    #[test]
    fn what_is_thought_beside_the_answer_is_counted_with_it() {
        let beside = json!({
            "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35,
            "completion_tokens_details": {"reasoning_tokens": 20},
        });
        assert_eq!((usage(beside.clone()).completion_tokens, usage(beside).reasoning), (25, 20));
    }

    #[test]
    fn the_names_of_the_responses_api_and_of_anthropic_are_read() {
        let responses = usage(json!({
            "input_tokens": 100, "input_tokens_details": {"cached_tokens": 60},
            "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 107,
        }));
        assert_eq!((responses.prompt_tokens, responses.cached, responses.reasoning), (100, 60, 3));
        let anthropic = usage(json!({
            "input_tokens": 10, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_1h_input_tokens": 30}, "output_tokens": 5,
        }));
        assert_eq!((anthropic.prompt_tokens, anthropic.cached, anthropic.cache_write), (240, 200, 30));
        assert_eq!((anthropic.cache_write_hour, anthropic.completion_tokens), (30, 5));
    }

    #[test]
    fn details_of_another_shape_cost_no_more_than_themselves() {
        for details in [json!(null), json!([]), json!("x"), json!({"cached_tokens": "many"})] {
            let read =
                usage(json!({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": details}));
            assert_eq!((read.total(), read.cached), (7, 0));
        }
    }
}

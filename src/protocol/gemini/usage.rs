//! Tokens, as Gemini counts them and as OpenAI does.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// `usageMetadata`. `promptTokenCount` counts what was cached too; what tools put into the prompt and what the model
/// thought are counted beside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    total_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    /// What of the prompt was sound, which has prices of its own.
    #[serde(rename = "promptTokensDetails", default, deserialize_with = "audio")]
    audio_token_count: Option<u64>,
}

/// Of what is told of each kind of medium.
fn audio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Medium<'a> {
        #[serde(borrow, default)]
        modality: Cow<'a, str>,
        #[serde(default)]
        token_count: u64,
    }
    // What has another shape says nothing, and is no reason to refuse the answer.
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    let media: Vec<Medium<'_>> = serde_json::from_str(raw).unwrap_or_default();
    let audio = media.iter().filter(|medium| medium.modality == "AUDIO");
    Ok(Some(audio.map(|medium| medium.token_count).sum()).filter(|tokens| *tokens > 0))
}

impl Usage {
    /// Takes over what a later event counts. Each counts from the beginning.
    pub(super) fn update(&mut self, later: Self) {
        self.prompt_token_count = later.prompt_token_count.or(self.prompt_token_count);
        self.candidates_token_count = later.candidates_token_count.or(self.candidates_token_count);
        self.total_token_count = later.total_token_count.or(self.total_token_count);
        self.cached_content_token_count =
            later.cached_content_token_count.or(self.cached_content_token_count);
        self.thoughts_token_count = later.thoughts_token_count.or(self.thoughts_token_count);
        self.tool_use_prompt_token_count =
            later.tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.audio_token_count = later.audio_token_count.or(self.audio_token_count);
    }

    /// OpenAI's `usage`; none where nothing was counted.
    pub(super) fn to_json(self) -> Option<String> {
        if self == Self::default() {
            return None;
        }
        let count = |tokens: Option<u64>| tokens.unwrap_or(0);
        let prompt = count(self.prompt_token_count).saturating_add(count(self.tool_use_prompt_token_count));
        let completion = count(self.candidates_token_count).saturating_add(count(self.thoughts_token_count));
        let total = self.total_token_count.unwrap_or_else(|| prompt.saturating_add(completion));
        let cached = count(self.cached_content_token_count);
        let reasoning = count(self.thoughts_token_count);
        let audio =
            self.audio_token_count.map_or_else(String::new, |audio| format!(r#","audio_tokens":{audio}"#));
        Some(format!(
            concat!(
                r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"#,
                r#""prompt_tokens_details":{{"cached_tokens":{}{}}},"#,
                r#""completion_tokens_details":{{"reasoning_tokens":{}}}}}"#
            ),
            prompt, completion, total, cached, audio, reasoning
        ))
    }

    /// OpenAI's `usage` of embeddings; none where nothing was counted.
    pub(super) fn embedding(self) -> Option<String> {
        let tokens = self.prompt_token_count?;
        Some(format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#))
    }
}

//! Tokens of an answer, and why it ended, as OpenAI says it.

use serde_json::value::RawValue;

use crate::protocol::json::{Members, Text, quote};
use crate::protocol::translate::Malformed;

/// OpenAI's finish reason for a stop reason. Source: platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
///
/// | stop reason | finish reason |
/// | --- | --- |
/// | `end_turn`, `stop_sequence` | `stop` |
/// | `tool_use` | `tool_calls` |
/// | `max_tokens`, `model_context_window_exceeded` | `length` |
/// | `pause_turn` (a tool of the provider's was at its limit), `compaction` | `length`: the answer is not whole, and can be continued |
/// | `refusal` | `content_filter` |
///
/// One that is none of these goes out as it is: an end that nobody knows is not passed off as a good one. The reason in
/// Anthropic's words is beside it as `native_finish_reason`.
pub(super) fn finish_reason(stop_reason: &str) -> &str {
    match stop_reason {
        "end_turn" | "stop_sequence" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" | "compaction" => "length",
        "refusal" => "content_filter",
        other => other,
    }
}

/// Tokens, as they come: all at once, or cumulative in the course of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    thinking: Option<u64>,
    /// What was written to the cache, by how long it is kept.
    cache_creation: Option<Box<RawValue>>,
    server_tool_use: Option<Box<RawValue>>,
    tier: Option<String>,
}

impl Usage {
    /// Takes in what a usage says; what it does not say stays.
    pub(super) fn merge(&mut self, raw: &str) -> Result<(), Malformed> {
        const WRONG: Malformed = Malformed("a usage of the wrong shape");
        for (name, raw) in Members::of(raw).map_err(|_| WRONG)?.iter().filter(|(_, raw)| *raw != "null") {
            let tokens = || raw.parse::<u64>().map_err(|_| WRONG);
            let copy = || serde_json::from_str::<Box<RawValue>>(raw).map_err(|_| WRONG);
            match name {
                "input_tokens" => self.input = tokens()?,
                "output_tokens" => self.output = tokens()?,
                "cache_read_input_tokens" => self.cache_read = tokens()?,
                "cache_creation_input_tokens" => self.cache_write = tokens()?,
                "cache_creation" => self.cache_creation = Some(copy()?),
                "server_tool_use" => self.server_tool_use = Some(copy()?),
                "output_tokens_details" => {
                    let details = Members::of(raw).map_err(|_| WRONG)?;
                    self.thinking = details.value("thinking_tokens").or(self.thinking);
                }
                "service_tier" => {
                    let Text(tier) = serde_json::from_str(raw).map_err(|_| WRONG)?;
                    self.tier =
                        Some(if tier == "standard" { "default".to_owned() } else { tier.into_owned() });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// OpenAI's `usage`. All tokens that went in are `prompt_tokens`, which Anthropic counts in three parts.
    pub(super) fn to_json(&self) -> String {
        let prompt = self.input.saturating_add(self.cache_read).saturating_add(self.cache_write);
        let mut json = format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"cache_write_tokens":{}"#,
            self.output,
            prompt.saturating_add(self.output),
            self.cache_read,
            self.cache_write,
        );
        if let Some(raw) = &self.cache_creation {
            json.push_str(r#","cache_creation":"#);
            json.push_str(raw.get());
        }
        json.push('}');
        if let Some(thinking) = self.thinking {
            json.push_str(&format!(r#","completion_tokens_details":{{"reasoning_tokens":{thinking}}}"#));
        }
        if let Some(raw) = &self.server_tool_use {
            json.push_str(r#","server_tool_use":"#);
            json.push_str(raw.get());
        }
        json.push('}');
        json
    }

    /// The `service_tier` member with its comma, if the answer named one.
    pub(super) fn tier_member(&self) -> String {
        self.tier.as_ref().map_or_else(String::new, |tier| format!(r#","service_tier":{}"#, quote(tier)))
    }
}

//! Why an answer ended: Gemini's reasons (ai.google.dev/api/generate-content#FinishReason) as OpenAI's.
//!
//! | Gemini | OpenAI |
//! |---|---|
//! | `STOP` | `stop`, or `tool_calls` where calls were made |
//! | `MAX_TOKENS` | `length` |
//! | `SAFETY`, `RECITATION`, `LANGUAGE`, `BLOCKLIST`, `PROHIBITED_CONTENT`, `SPII` | `content_filter` |
//! | `IMAGE_SAFETY`, `IMAGE_PROHIBITED_CONTENT`, `IMAGE_RECITATION`, `IMAGE_OTHER` | `content_filter` |
//! | `OTHER`, and any reason that is newer than this table | `content_filter` |
//! | `promptFeedback.blockReason` without candidates, whatever it is | `content_filter` |
//! | `MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`, `TOO_MANY_TOOL_CALLS`, `MISSING_THOUGHT_SIGNATURE`, `MALFORMED_RESPONSE`, `NO_IMAGE` | none: the answer is [`Malformed`] |
//! | `FINISH_REASON_UNSPECIFIED` | none: it has not ended |
//!
//! The last but one are answers that the model failed at: no reason of OpenAI's says so, and half an answer must not pass for a whole one.
//! Wherever OpenAI's reason says less than Gemini's, the choice has the latter as `native_finish_reason`.

use crate::protocol::translate::Malformed;

/// OpenAI's reason, and whether it says all of it.
pub(super) struct Reason {
    pub(super) name: &'static str,
    pub(super) exact: bool,
}

pub(super) fn reason(gemini: &str, called: bool) -> Result<Reason, Malformed> {
    let exact = |name| Ok(Reason { name, exact: true });
    match gemini {
        "STOP" if called => exact("tool_calls"),
        "STOP" => exact("stop"),
        "MAX_TOKENS" => exact("length"),
        "MALFORMED_FUNCTION_CALL" => Err(Malformed("a function call that the model failed to make")),
        "UNEXPECTED_TOOL_CALL" => Err(Malformed("a call of a tool that is none")),
        "TOO_MANY_TOOL_CALLS" => Err(Malformed("an answer given up after too many tool calls")),
        "MISSING_THOUGHT_SIGNATURE" => Err(Malformed("a request without a thought signature")),
        "MALFORMED_RESPONSE" => Err(Malformed("an answer that the model failed to make")),
        "NO_IMAGE" => Err(Malformed("an answer without the image that was asked for")),
        _ => Ok(Reason { name: "content_filter", exact: false }),
    }
}

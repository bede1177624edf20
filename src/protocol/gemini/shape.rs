//! The shape of a GenerateContentResponse, as far as it is looked into. An event of a stream is one, too.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Usage;
use crate::protocol::json::Text;
use crate::protocol::translate::Malformed;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    pub(super) prompt_feedback: Option<PromptFeedback<'a>>,
    pub(super) usage_metadata: Option<Usage>,
    #[serde(borrow)]
    pub(super) model_version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) response_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

impl<'a> Response<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, Malformed> {
        // serde takes an array of the fields for the object.
        if !text.trim_start().starts_with('{') {
            return Err(Malformed("an answer that is no object"));
        }
        serde_json::from_str(text).map_err(|_| Malformed("an answer that is no GenerateContentResponse"))
    }

    /// Why the prompt was refused, where nothing came of it.
    pub(super) fn blocked(&self) -> Option<&str> {
        if self.candidates.as_ref().is_some_and(|candidates| !candidates.is_empty()) {
            return None;
        }
        let reason = &self.prompt_feedback.as_ref()?.block_reason.as_ref()?.0;
        Some(&**reason).filter(|reason| *reason != "BLOCKED_REASON_UNSPECIFIED" && !reason.is_empty())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback<'a> {
    #[serde(borrow)]
    block_reason: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    pub(super) index: Option<usize>,
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) logprobs_result: Option<Logprobs<'a>>,
    #[serde(borrow)]
    pub(super) grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) url_context_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) citation_metadata: Option<&'a RawValue>,
}

impl<'a> Candidate<'a> {
    pub(super) fn finish_reason(&self) -> Option<&str> {
        let reason = self.finish_reason.as_ref().map(|reason| &*reason.0);
        reason.filter(|reason| !reason.is_empty() && *reason != "FINISH_REASON_UNSPECIFIED")
    }

    pub(super) fn parts(&self) -> &[&'a RawValue] {
        self.content.as_ref().and_then(|content| content.parts.as_deref()).unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) thought: Option<bool>,
    #[serde(borrow)]
    pub(super) thought_signature: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) function_call: Option<FunctionCall<'a>>,
    #[serde(borrow)]
    pub(super) inline_data: Option<InlineData<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InlineData<'a> {
    #[serde(borrow)]
    pub(super) mime_type: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logprobs<'a> {
    #[serde(borrow, default)]
    pub(super) chosen_candidates: Option<Vec<Token<'a>>>,
    #[serde(borrow, default)]
    pub(super) top_candidates: Option<Vec<Top<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token<'a> {
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) log_probability: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Top<'a> {
    #[serde(borrow, default)]
    pub(super) candidates: Option<Vec<Token<'a>>>,
}

//! One chunk of a chat stream.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::protocol::json::Text;

/// A chunk, as far as anyone but the caller looks into it. Parsing it checks the whole text to be JSON.
#[derive(Debug, Deserialize)]
pub struct Chunk<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    pub created: Option<serde_json::Number>,
    #[serde(borrow)]
    pub model: Option<Text<'a>>,
    #[serde(borrow)]
    pub system_fingerprint: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    /// How it was served, which it may be charged by.
    #[serde(borrow)]
    pub service_tier: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Choice<'a> {
    #[serde(default)]
    pub index: usize,
    #[serde(borrow)]
    pub delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    /// The same in the provider's own words, as OpenRouter has it.
    #[serde(borrow)]
    pub native_finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    pub logprobs: Option<Logprobs<'a>>,
}

/// What came of the probabilities of tokens.
#[derive(Debug, Deserialize)]
pub struct Logprobs<'a> {
    #[serde(borrow)]
    pub content: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub refusal: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Deserialize)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub role: Option<Text<'a>>,
    #[serde(borrow)]
    pub content: Option<Content<'a>>,
    #[serde(borrow)]
    pub refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub reasoning_content: Option<Text<'a>>,
    /// The same by the name that OpenRouter and vLLM have for it.
    #[serde(borrow)]
    pub reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    /// What tool calls were before there were several.
    #[serde(borrow)]
    pub function_call: Option<Function<'a>>,
    /// Images that the model made, as OpenRouter and LiteLLM have them.
    #[serde(borrow)]
    pub images: Option<Vec<&'a RawValue>>,
    /// What a provider wants back with the message, as Google's OpenAI endpoint has it.
    #[serde(borrow)]
    pub extra_content: Option<&'a RawValue>,
    /// The same of Anthropic's, by the name that LiteLLM has for it; at once, before the end.
    #[serde(borrow)]
    pub thinking_blocks: Option<Items<'a>>,
    /// Where the text is from: Anthropic's citations, or URLs as OpenAI has them. Each comes whole.
    #[serde(borrow)]
    pub citations: Option<Items<'a>>,
    #[serde(borrow)]
    pub annotations: Option<Items<'a>>,
}

impl<'a> Delta<'a> {
    /// Lists that are joined as they come: the pieces are whole, and nobody here looks into them.
    fn lists(&self) -> impl Iterator<Item = &'a RawValue> {
        let lists = [&self.thinking_blocks, &self.citations, &self.annotations];
        let items = lists.into_iter().flatten().flat_map(|Items(items)| items);
        items.chain(self.images.iter().flatten()).copied()
    }
}

/// A list that no standard describes: what has another kind is none, and no reason to refuse the chunk.
#[derive(Debug)]
pub struct Items<'a>(pub Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        Ok(Self(serde_json::from_str(raw).unwrap_or_default()))
    }
}

/// The text of a delta, and how it stands in the chunk.
#[derive(Debug)]
pub struct Content<'a> {
    raw: &'a str,
    pub text: Text<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = serde_json::from_str(raw).map_err(serde::de::Error::custom)?;
        Ok(Self { raw, text })
    }
}

#[derive(Debug, Deserialize)]
pub struct ToolCall<'a> {
    #[serde(default)]
    pub index: usize,
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub function: Option<Function<'a>>,
    /// What a provider wants back with the call: Gemini's thought signature.
    #[serde(borrow)]
    pub extra_content: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub arguments: Option<Text<'a>>,
}

/// How much a chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing yet: a role, an empty delta.
    Nothing,
    /// A piece of the answer, reasoning included.
    Something,
    /// No choice at all, but the usage.
    UsageOnly,
}

impl<'a> Chunk<'a> {
    pub fn of(text: &'a str) -> Result<Self, serde_json::Error> {
        // serde takes an array of the fields for the object, and an array means something else at the border.
        if !text.trim_start().starts_with('{') {
            return Err(serde::de::Error::custom("no object"));
        }
        serde_json::from_str(text)
    }

    pub fn choices(&self) -> &[Choice<'a>] {
        self.choices.as_deref().unwrap_or_default()
    }

    /// Whether it says nothing of its answer but a text of its one choice, whatever there is that we do not look at.
    pub(super) fn says_only_text(&self) -> bool {
        let [choice] = self.choices() else { return false };
        let Choice { index: _, delta, finish_reason, native_finish_reason, logprobs } = choice;
        let Some(delta) = delta else { return false };
        let is_none =
            [&delta.refusal, &delta.reasoning_content, &delta.reasoning].iter().all(|other| other.is_none());
        self.usage.is_none()
            && self.error.is_none()
            && finish_reason.as_ref().is_none_or(|reason| reason.0.is_empty())
            && native_finish_reason.is_none()
            && logprobs.is_none()
            && delta.content.is_some()
            && is_none
            && delta.tool_calls.is_none()
            && delta.function_call.is_none()
            && delta.extra_content.is_none()
            && delta.lists().next().is_none()
    }

    /// A chunk before this one that says that all before it is void.
    pub fn restart(&self) -> String {
        #[derive(Serialize)]
        struct Restart<'a> {
            id: &'a str,
            object: &'static str,
            created: Option<&'a serde_json::Number>,
            model: &'a str,
            choices: [(); 0],
            trunkline: Signal,
        }
        #[derive(Serialize)]
        struct Signal {
            restart: bool,
        }
        fn text<'t>(text: &'t Option<Text<'_>>) -> &'t str {
            text.as_ref().map_or("", |text| &text.0)
        }
        let restart = Restart {
            id: text(&self.id),
            object: "chat.completion.chunk",
            created: self.created.as_ref(),
            model: text(&self.model),
            choices: [],
            trunkline: Signal { restart: true },
        };
        // A type of strings and numbers always has a text.
        serde_json::to_string(&restart).unwrap_or_default()
    }

    /// How much the chunk says, which was read from `json`.
    pub fn said(&self, json: &str) -> Said {
        if self.choices().is_empty() && self.usage.is_some() {
            return Said::UsageOnly;
        }
        let says = |text: &Option<Text<'_>>| text.as_ref().is_some_and(|text| !text.0.is_empty());
        let something = self.choices().iter().any(|choice| {
            choice.finish_reason().is_some()
                || choice.delta.as_ref().is_some_and(|delta| {
                    delta.content.as_ref().is_some_and(|content| !content.text.0.is_empty())
                        || says(&delta.refusal)
                        || says(&delta.reasoning_content)
                        || says(&delta.reasoning)
                        || delta.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
                })
        });
        if something || self.says_by_another_name(json) { Said::Something } else { Said::Nothing }
    }

    /// Whether a delta has anything but a role. Rarely asked, of chunks that say nothing by the names we know.
    fn says_by_another_name(&self, json: &str) -> bool {
        #[derive(Deserialize)]
        struct Loose<'a> {
            #[serde(borrow)]
            choices: Vec<LooseChoice<'a>>,
        }
        #[derive(Deserialize)]
        struct LooseChoice<'a> {
            #[serde(borrow, default)]
            delta: Option<HashMap<Cow<'a, str>, Value>>,
        }
        let Ok(chunk) = serde_json::from_str::<Loose<'_>>(json) else { return false };
        let mut members = chunk.choices.into_iter().flat_map(|choice| choice.delta.unwrap_or_default());
        members.any(|(name, value)| match value {
            _ if name == "role" => false,
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        })
    }

    /// The text of the first choice.
    pub fn text(&self) -> &str {
        let first = self.choices().iter().find(|choice| choice.index == 0);
        first.and_then(Choice::content).map_or("", |content| &content.text.0)
    }

    /// Where in `json`, which this chunk was read from, the text of its only choice stands, quotes included.
    pub fn content_span(&self, json: &str) -> Option<Range<usize>> {
        let [choice] = self.choices() else { return None };
        let raw = choice.content()?.raw;
        let start = raw.as_ptr().addr().checked_sub(json.as_ptr().addr())?;
        (start + raw.len() <= json.len()).then(|| start..start + raw.len())
    }
}

impl<'a> Choice<'a> {
    /// Why the choice ended. Some servers send an empty reason with every chunk, which is none.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_ref().map(|reason| &*reason.0).filter(|reason| !reason.is_empty())
    }

    /// Bytes of its texts.
    pub fn size(&self) -> usize {
        let long = |text: &Option<Text<'_>>| text.as_ref().map_or(0, |text| text.0.len());
        let tokens =
            |list: &Option<Vec<&RawValue>>| list.iter().flatten().map(|raw| raw.get().len()).sum::<usize>();
        let logprobs =
            self.logprobs.as_ref().map_or(0, |given| tokens(&given.content) + tokens(&given.refusal));
        let Some(delta) = &self.delta else { return logprobs };
        let extras = delta.tool_calls.iter().flatten().filter_map(|call| call.extra_content);
        let raws = extras.chain(delta.extra_content).chain(delta.lists());
        let calls = delta.tool_calls.iter().flatten().map(|call| call.function.as_ref());
        let functions = calls.chain([delta.function_call.as_ref()]).flatten();
        logprobs
            + delta.content.as_ref().map_or(0, |content| content.text.0.len())
            + [&delta.refusal, &delta.reasoning_content, &delta.reasoning]
                .into_iter()
                .map(long)
                .sum::<usize>()
            + functions.map(|function| long(&function.arguments)).sum::<usize>()
            + raws.map(|raw| raw.get().len()).sum::<usize>()
    }

    fn content(&self) -> Option<&Content<'a>> {
        self.delta.as_ref()?.content.as_ref()
    }
}

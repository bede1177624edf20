//! A whole answer, gathered from the chunks of a stream.

use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::chunk::{Choice, Chunk, Function, Items, Logprobs, ToolCall};
use crate::protocol::json::Text;

/// More choices or tool calls than this in one answer are not believed: an index from the network is no capacity.
const MAX_INDEX: usize = 1024;

/// An answer has at most this much text: 64 MiB, as one that comes whole.
const MAX_TEXT: usize = 64 * 1024 * 1024;

/// What has come of an answer. Serializes to OpenAI's `chat.completion`.
#[derive(Debug, Default, Serialize)]
pub struct Completion {
    id: String,
    object: Object,
    created: Option<Number>,
    model: String,
    choices: Vec<Gathered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<String>,
    /// How it was served.
    #[serde(skip)]
    tier: Option<String>,
    /// Bytes of all texts.
    #[serde(skip)]
    size: usize,
}

#[derive(Debug, Default, Serialize)]
enum Object {
    #[default]
    #[serde(rename = "chat.completion")]
    Completion,
}

#[derive(Debug, Default, Serialize)]
struct Gathered {
    index: usize,
    message: Message,
    logprobs: Option<GatheredLogprobs>,
    finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize)]
struct Message {
    role: Role,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<GatheredCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<GatheredFunction>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    citations: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize)]
struct GatheredLogprobs {
    content: Option<Vec<Box<RawValue>>>,
    refusal: Option<Vec<Box<RawValue>>>,
}

#[derive(Debug, Default, Serialize)]
enum Role {
    #[default]
    #[serde(rename = "assistant")]
    Assistant,
}

#[derive(Debug, Default, Serialize)]
struct GatheredCall {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    function: GatheredFunction,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Serialize)]
struct GatheredFunction {
    name: String,
    arguments: String,
}

/// Why a chunk is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// An index that no answer has.
    BadIndex,
    /// More text than an answer may have.
    TooLong,
}

impl Completion {
    /// Adds a chunk.
    pub fn add(&mut self, chunk: &Chunk<'_>) -> Result<(), Refused> {
        set(&mut self.id, &chunk.id);
        set(&mut self.model, &chunk.model);
        if self.created.is_none() {
            self.created.clone_from(&chunk.created);
        }
        if let Some(Text(fingerprint)) = &chunk.system_fingerprint {
            self.system_fingerprint.get_or_insert_with(|| fingerprint.clone().into_owned());
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.to_owned());
        }
        if let Some(Text(tier)) = &chunk.service_tier
            && self.tier.as_deref() != Some(tier)
        {
            self.tier = Some(tier.clone().into_owned());
        }
        self.size += chunk.choices().iter().map(Choice::size).sum::<usize>();
        if self.size > MAX_TEXT {
            return Err(Refused::TooLong);
        }
        chunk.choices().iter().try_for_each(|choice| self.add_choice(choice))
    }

    /// Adds a text to a choice, as a chunk would that says nothing else. False where there is no such choice yet.
    pub fn say(&mut self, index: usize, text: &str) -> Result<bool, Refused> {
        let Some(choice) = self.choices.iter_mut().find(|choice| choice.index == index) else {
            return Ok(false);
        };
        self.size += text.len();
        if self.size > MAX_TEXT {
            return Err(Refused::TooLong);
        }
        choice.message.content.get_or_insert_default().push_str(text);
        Ok(true)
    }

    fn add_choice(&mut self, choice: &Choice<'_>) -> Result<(), Refused> {
        let at = match self.choices.iter().position(|have| have.index == choice.index) {
            Some(at) => at,
            None if self.choices.len() >= MAX_INDEX => return Err(Refused::BadIndex),
            None => {
                self.choices.push(Gathered { index: choice.index, ..Gathered::default() });
                self.choices.len() - 1
            }
        };
        let gathered = &mut self.choices[at];
        if let Some(reason) = choice.finish_reason() {
            gathered.finish_reason = Some(reason.to_owned());
        }
        keep(&mut gathered.native_finish_reason, choice.native_finish_reason);
        if let Some(logprobs) = &choice.logprobs {
            gathered.logprobs.get_or_insert_default().add(logprobs);
        }
        let Some(delta) = &choice.delta else { return Ok(()) };
        if let Some(content) = &delta.content {
            gathered.message.content.get_or_insert_default().push_str(&content.text.0);
        }
        append(&mut gathered.message.refusal, &delta.refusal);
        append(&mut gathered.message.reasoning_content, &delta.reasoning_content);
        append(&mut gathered.message.reasoning, &delta.reasoning);
        keep(&mut gathered.message.extra_content, delta.extra_content);
        gathered.message.images.extend(delta.images.iter().flatten().map(|&image| image.to_owned()));
        extend(&mut gathered.message.thinking_blocks, &delta.thinking_blocks);
        extend(&mut gathered.message.citations, &delta.citations);
        extend(&mut gathered.message.annotations, &delta.annotations);
        if let Some(function) = &delta.function_call {
            gathered.message.function_call.get_or_insert_default().add(function);
        }
        delta.tool_calls.iter().flatten().try_for_each(|call| gathered.message.add_call(call))
    }

    /// Whether each of the choices that were asked for has its finish reason.
    pub fn is_finished(&self, asked: usize) -> bool {
        self.choices.len() >= asked && self.choices.iter().all(|choice| choice.finish_reason.is_some())
    }

    pub fn model(&self) -> Option<&str> {
        (!self.model.is_empty()).then_some(self.model.as_str())
    }

    pub fn usage(&self) -> Option<&RawValue> {
        self.usage.as_deref()
    }

    pub fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// Bytes of all its texts.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The text of an answer that is not at its end and holds nothing else: one choice without tool calls, refusal or reasoning.
    pub fn plain_text(&self) -> Option<&str> {
        let [Gathered { index: 0, message, finish_reason: None, .. }] = &self.choices[..] else {
            return None;
        };
        let Message { refusal, reasoning_content, reasoning, tool_calls, function_call, .. } = message;
        let is_plain = [refusal, reasoning_content, reasoning].iter().all(|other| other.is_none())
            && tool_calls.is_empty()
            && function_call.is_none();
        message.content.as_deref().filter(|_| is_plain)
    }

    /// Keeps what was said; who says the rest, and what it takes, the chunks to come tell.
    pub fn go_on(&mut self) {
        let Self { choices, size, .. } = std::mem::take(self);
        *self = Self { choices, size, ..Self::default() };
    }

    /// OpenAI's `chat.completion`, choices in the order of their index.
    pub fn to_json(&mut self) -> String {
        self.choices.sort_by_key(|choice| choice.index);
        // A type of strings, numbers and checked raw values always has a text.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Message {
    fn add_call(&mut self, call: &ToolCall<'_>) -> Result<(), Refused> {
        if call.index >= MAX_INDEX {
            return Err(Refused::BadIndex);
        }
        if self.tool_calls.len() <= call.index {
            self.tool_calls.resize_with(call.index + 1, GatheredCall::default);
        }
        let gathered = &mut self.tool_calls[call.index];
        set(&mut gathered.id, &call.id);
        set(&mut gathered.kind, &call.kind);
        if gathered.kind.is_empty() {
            gathered.kind.push_str("function");
        }
        if let Some(function) = &call.function {
            gathered.function.add(function);
        }
        keep(&mut gathered.extra_content, call.extra_content);
        Ok(())
    }
}

impl GatheredFunction {
    fn add(&mut self, function: &Function<'_>) {
        set(&mut self.name, &function.name);
        if let Some(Text(arguments)) = &function.arguments {
            self.arguments.push_str(arguments);
        }
    }
}

impl GatheredLogprobs {
    fn add(&mut self, logprobs: &Logprobs<'_>) {
        let add = |to: &mut Option<Vec<Box<RawValue>>>, from: &Option<Vec<&RawValue>>| {
            if let Some(from) = from {
                to.get_or_insert_default().extend(from.iter().map(|&token| token.to_owned()));
            }
        };
        add(&mut self.content, &logprobs.content);
        add(&mut self.refusal, &logprobs.refusal);
    }
}

fn set(to: &mut String, from: &Option<Text<'_>>) {
    if let Some(Text(text)) = from
        && to.is_empty()
    {
        to.push_str(text);
    }
}

fn append(to: &mut Option<String>, from: &Option<Text<'_>>) {
    if let Some(Text(text)) = from {
        to.get_or_insert_default().push_str(text);
    }
}

fn extend(to: &mut Vec<Box<RawValue>>, from: &Option<Items<'_>>) {
    to.extend(from.iter().flat_map(|Items(items)| items).map(|&item| item.to_owned()));
}

/// Takes over a value, in place of an earlier one.
fn keep(to: &mut Option<Box<RawValue>>, from: Option<&RawValue>) {
    if let Some(raw) = from {
        *to = Some(raw.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn gather(chunks: &[Value]) -> Completion {
        let mut completion = Completion::default();
        for chunk in chunks {
            let text = chunk.to_string();
            completion.add(&Chunk::of(&text).unwrap()).unwrap();
        }
        completion
    }

    fn json_of(mut completion: Completion) -> Value {
        serde_json::from_str(&completion.to_json()).unwrap()
    }

    #[test]
    fn text_usage_and_finish_reason_are_gathered() {
        let completion = gather(&[
            json!({"id":"c1","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}),
            json!({"id":"c1","choices":[{"index":0,"delta":{"content":"He\"y"},"finish_reason":null}]}),
            json!({"id":"c1","choices":[{"index":0,"delta":{"content":" é"}}]}),
            json!({"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}),
            json!({"id":"c1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}),
        ]);
        assert!(completion.is_finished(1));
        assert_eq!(
            json_of(completion),
            json!({"id":"c1","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"He\"y é","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}})
        );
    }

    #[test]
    fn parallel_tool_calls_with_split_arguments_are_gathered() {
        let call = |index: usize, id: Value, name: Value, arguments: &str| json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":index,"id":id,"type":"function","function":{"name":name,"arguments":arguments}}]}}]});
        let completion = json_of(gather(&[
            call(0, json!("a"), json!("f"), "{\"x\""),
            call(1, json!("b"), json!("g"), ""),
            call(0, Value::Null, Value::Null, ":1}"),
            call(1, Value::Null, Value::Null, "{}"),
        ]));
        assert_eq!(
            completion["choices"][0]["message"]["tool_calls"],
            json!([{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}])
        );
        assert_eq!(completion["choices"][0]["message"]["content"], Value::Null);
    }

    #[test]
    fn an_answer_is_finished_only_when_every_choice_is() {
        let mut completion =
            gather(&[json!({"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]})]);
        assert!(!completion.is_finished(2));
        let rest =
            json!({"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"length"}]}).to_string();
        completion.add(&Chunk::of(&rest).unwrap()).unwrap();
        assert!(completion.is_finished(2));
        assert_eq!(json_of(completion)["choices"][0]["message"]["content"], "a");
    }

    #[test]
    fn logprobs_reasoning_and_a_function_call_are_gathered() {
        let chunk = |delta: Value, logprobs: Value| json!({"choices":[{"index":0,"delta":delta,"logprobs":logprobs}]});
        let completion = json_of(gather(&[
            chunk(json!({"reasoning":"hm"}), Value::Null),
            chunk(json!({"reasoning":"m"}), json!({"content":[{"token":"a","logprob":-0.1}],"refusal":null})),
            chunk(json!({"function_call":{"name":"f","arguments":"{"}}), json!({"content":[{"token":"b"}]})),
            chunk(json!({"function_call":{"arguments":"}"}}), Value::Null),
        ]));
        let choice = &completion["choices"][0];
        assert_eq!(
            choice["logprobs"],
            json!({"content":[{"token":"a","logprob":-0.1},{"token":"b"}],"refusal":null})
        );
        assert_eq!(choice["message"]["reasoning"], "hmm");
        assert_eq!(choice["message"]["function_call"], json!({"name":"f","arguments":"{}"}));
    }

    #[test]
    fn what_a_provider_wants_back_is_gathered() {
        let signed = |signature: &str| json!({"google":{"thought_signature":signature}});
        let chunk = |delta: Value| json!({"choices":[{"index":0,"delta":delta}]});
        let completion = json_of(gather(&[
            chunk(
                json!({"tool_calls":[{"index":0,"id":"a","function":{"name":"f"},"extra_content":signed("x")}]}),
            ),
            chunk(json!({"tool_calls":[{"index":0,"function":{"arguments":"{}"}}],"images":[{"url":1}]})),
            chunk(json!({"extra_content":signed("y"),"images":[{"url":2}]})),
        ]));
        let message = &completion["choices"][0]["message"];
        assert_eq!(message["tool_calls"][0]["extra_content"], signed("x"));
        assert_eq!(message["extra_content"], signed("y"));
        assert_eq!(message["images"], json!([{"url":1},{"url":2}]));
    }

    #[test]
    fn blocks_sources_and_the_providers_own_reason_are_gathered() {
        let chunk = |delta: Value, end: Value| json!({"choices":[{"index":0,"delta":delta,"finish_reason":end,"native_finish_reason":end}]});
        let completion = json_of(gather(&[
            chunk(json!({"content":"a","citations":[{"n":1}]}), Value::Null),
            chunk(json!({"citations":[{"n":2}],"annotations":[{"type":"url_citation"}]}), Value::Null),
            chunk(json!({"thinking_blocks":[{"type":"redacted_thinking"}]}), Value::Null),
            chunk(json!({}), json!("end_turn")),
        ]));
        let choice = &completion["choices"][0];
        assert_eq!(choice["native_finish_reason"], "end_turn");
        assert_eq!(choice["message"]["citations"], json!([{"n":1},{"n":2}]));
        assert_eq!(choice["message"]["annotations"], json!([{"type":"url_citation"}]));
        assert_eq!(choice["message"]["thinking_blocks"], json!([{"type":"redacted_thinking"}]));
        let plain =
            json_of(gather(&[chunk(json!({"content":"a","citations":"x","annotations":null}), Value::Null)]));
        let message = plain["choices"][0]["message"].as_object().unwrap();
        assert_eq!(message.keys().collect::<Vec<_>>(), ["content", "refusal", "role"]);
    }

    #[test]
    fn an_empty_finish_reason_is_none() {
        let completion =
            gather(&[json!({"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]})]);
        assert!(!completion.is_finished(1));
    }

    #[test]
    fn an_absurd_index_is_refused_rather_than_allocated() {
        let text =
            json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":4_000_000_000_u64}]}}]}).to_string();
        assert_eq!(Completion::default().add(&Chunk::of(&text).unwrap()), Err(Refused::BadIndex));
    }
}

//! A chat request of OpenAI's in Anthropic's words.
//!
//! `docs/protocols/anthropic.md` has the table of what is translated, left out with notice, and refused.

use std::borrow::Cow;

use super::NAME;
use super::model::Model;
use super::{Context, messages};
use crate::protocol::json::quote;
use crate::protocol::read::{At, Object, boolean, count, items, number, text};
use crate::protocol::translate::{Inexpressible, Translated};

/// `max_tokens` where the request has none, which the API does not take: room for an answer and for the thinking that newer
/// models do by themselves, and less than any model of today can write. 4,096 for models before Claude 3.7, whose most it was.
pub const DEFAULT_MAX_TOKENS: u64 = 16_384;

/// Members of Anthropic's own, taken over as they are.
const OWN: [&str; 9] = [
    "cache_control",
    "container",
    "context_management",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "speed",
    "thinking",
    "top_k",
];

/// Hints: what comes back without them has the same shape.
const HINTS: [&str; 6] =
    ["logit_bias", "prediction", "prompt_cache_key", "prompt_cache_retention", "seed", "verbosity"];

/// Paths of what is left out.
#[derive(Debug, Default)]
pub(super) struct Dropped(Vec<Cow<'static, str>>);

impl Dropped {
    pub(super) fn at(&mut self, path: &At<'_>) {
        self.0.push(path.to_string().into());
    }

    /// Members that have no place.
    pub(super) fn unknown(&mut self, object: &Object<'_>, known: &[&str], at: &At<'_>) {
        object.drop_unknown(known, at, &mut self.0);
    }

    pub(super) fn push(&mut self, name: &'static str) {
        self.0.push(name.into());
    }
}

/// What the request says, each as raw JSON.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) messages: &'a str,
    pub(super) max_tokens: Option<&'a str>,
    pub(super) max_completion_tokens: Option<&'a str>,
    pub(super) stop: Option<&'a str>,
    pub(super) stop_sequences: Option<&'a str>,
    pub(super) temperature: Option<&'a str>,
    pub(super) top_p: Option<&'a str>,
    pub(super) tools: Option<&'a str>,
    pub(super) tool_choice: Option<&'a str>,
    pub(super) parallel_tool_calls: Option<&'a str>,
    pub(super) response_format: Option<&'a str>,
    pub(super) reasoning_effort: Option<&'a str>,
    pub(super) thinking: Option<&'a str>,
    pub(super) output_config: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) safety_identifier: Option<&'a str>,
    pub(super) metadata: Option<&'a str>,
    pub(super) service_tier: Option<&'a str>,
    pub(super) own: Vec<(&'static str, &'a str)>,
}

/// A chat request in OpenAI's shape, in the words of this protocol. `model`: what the target calls it. `stream`: whether as a
/// stream.
pub fn request(body: &str, model: &str, stream: bool) -> Result<Translated<Context>, Inexpressible> {
    let members = Object::parse(body, &At::Root)?;
    let mut dropped = Dropped::default();
    let asked = Asked::of(&members, &mut dropped)?;
    let model_name = model;
    let model = Model::of(model);
    let at = |name: &'static str| At::Member(&At::Root, name);

    let mut conversation = messages::translate(asked.messages, model, &at("messages"), &mut dropped)?;
    let max_tokens = asked.max_tokens(&mut dropped)?;
    let choice = asked.choice()?;
    let thinking = asked.thinking(model, max_tokens, choice.forced, &mut dropped)?;
    let format = asked.format(&mut conversation.system, &mut dropped)?;

    let mut out = Writer::with_capacity(body.len() + conversation.system.len() + 256);
    out.set("model", &quote(model_name));
    let default = if model.is_brief() { 4_096 } else { DEFAULT_MAX_TOKENS + thinking.budget };
    out.set("max_tokens", &max_tokens.unwrap_or(default).to_string());
    if !conversation.system.is_empty() {
        out.list("system", &conversation.system);
    }
    out.list("messages", &conversation.turns);
    asked.tools(choice, &mut out, &mut dropped)?;
    asked.sampling(model, &thinking, &mut out, &mut dropped)?;
    asked.stops(&mut out)?;
    if let Some(config) = thinking.config.as_deref().filter(|_| asked.thinking.is_none()) {
        out.set("thinking", config);
    }
    asked.output_config(thinking.effort, format, &mut out, &mut dropped)?;
    asked.user(&mut out, &mut dropped)?;
    asked.tier(&mut out, &mut dropped)?;
    for (name, raw) in &asked.own {
        out.set(name, raw);
    }
    if stream {
        out.set("stream", "true");
    }
    Ok(Translated { body: out.end(), dropped: dropped.0, context: Context { trimmed: conversation.trimmed } })
}

impl<'a> Asked<'a> {
    /// Sorts the members, and refuses what would change what comes back.
    fn of(members: &Object<'a>, dropped: &mut Dropped) -> Result<Self, Inexpressible> {
        let mut asked = Self::default();
        for (name, raw) in members.members() {
            let path = At::Member(&At::Root, name);
            match name {
                _ if raw == "null" => {}
                "messages" => asked.messages = raw,
                "max_tokens" => asked.max_tokens = Some(raw),
                "max_completion_tokens" => asked.max_completion_tokens = Some(raw),
                "stop" => asked.stop = Some(raw),
                "stop_sequences" => asked.stop_sequences = Some(raw),
                "temperature" => asked.temperature = Some(raw),
                "top_p" => asked.top_p = Some(raw),
                "tools" => asked.tools = Some(raw),
                "tool_choice" => asked.tool_choice = Some(raw),
                "parallel_tool_calls" => asked.parallel_tool_calls = Some(raw),
                "response_format" => asked.response_format = Some(raw),
                "reasoning_effort" => asked.reasoning_effort = Some(raw),
                "output_config" => asked.output_config = Some(raw),
                "user" => asked.user = Some(raw),
                "safety_identifier" => asked.safety_identifier = Some(raw),
                "metadata" => asked.metadata = Some(raw),
                "service_tier" => asked.service_tier = Some(raw),
                // The target's, not the request's.
                "model" | "stream" | "stream_options" => {}
                "n" if count(raw, &path)? != 1 => {
                    return Err(path.cannot(NAME, "more than one answer to a request"));
                }
                "n" => {}
                "logprobs" if boolean(raw, &path)? => {
                    return Err(path.cannot(NAME, "probabilities of tokens"));
                }
                "logprobs" => {}
                "top_logprobs" if count(raw, &path)? > 0 => {
                    return Err(path.cannot(NAME, "probabilities of tokens"));
                }
                "top_logprobs" => {}
                "modalities" => {
                    for (at, item) in items(raw, "an array", &path)?.iter().enumerate() {
                        let path = path.item(at);
                        if text(item, &path)? != "text" {
                            return Err(path.cannot(NAME, "an answer that is not text"));
                        }
                    }
                }
                "web_search_options" => {
                    return Err(path.cannot(NAME, "a search by option; use a tool of the type web_search_…"));
                }
                "functions" | "function_call" => {
                    return Err(path.cannot(NAME, "functions; use tools and tool_choice"));
                }
                "system" => return Err(path.wrong("must be a message with the role system")),
                "store" if !boolean(raw, &path)? => {}
                "presence_penalty" | "frequency_penalty" => {
                    if number(raw, -2.0, 2.0, &path)? != 0.0 {
                        dropped.at(&path);
                    }
                }
                "logit_bias" if raw == "{}" => {}
                _ => {
                    if let Some(own) = OWN.iter().find(|own| **own == name) {
                        if *own == "thinking" {
                            asked.thinking = Some(raw);
                        }
                        asked.own.retain(|(have, _)| have != own);
                        asked.own.push((own, raw));
                    } else if let Some(hint) = HINTS.iter().find(|hint| **hint == name) {
                        dropped.push(hint);
                    } else {
                        dropped.at(&path);
                    }
                }
            }
        }
        Ok(asked)
    }
}

/// An object as it is written.
#[derive(Debug)]
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    pub(super) fn set(&mut self, name: &str, raw: &str) {
        if !self.is_empty() {
            self.0.push(',');
        }
        self.0.push('"');
        // Names of the caller's own are the only ones that may hold anything to escape.
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.0.push_str(name);
            self.0.push_str("\":");
        } else {
            self.0.push_str(&quote(name)[1..]);
            self.0.push(':');
        }
        self.0.push_str(raw);
    }

    pub(super) fn list(&mut self, name: &str, items: &str) {
        self.set(name, "[");
        self.0.push_str(items);
        self.0.push(']');
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

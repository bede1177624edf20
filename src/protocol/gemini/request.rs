//! A chat request, in Gemini's words.

use std::borrow::Cow;

use super::{Context, config, messages, tools, write};
use crate::protocol::read::{At, Object};
use crate::protocol::translate::{Inexpressible, Translated};

/// Members that are read somewhere below, or say how the answer travels, which the path says here. Everything else is
/// dropped.
const KNOWN: [&str; 48] = [
    "audio",
    "cachedContent",
    "cached_content",
    "extra_body",
    "frequency_penalty",
    "function_call",
    "functions",
    "generationConfig",
    "generation_config",
    "imageConfig",
    "image_config",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "mediaResolution",
    "media_resolution",
    "messages",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "responseModalities",
    "response_format",
    "response_modalities",
    "safetySettings",
    "safety_settings",
    "seed",
    "serviceTier",
    "service_tier",
    "stop",
    "stream",
    "stream_options",
    "systemInstruction",
    "system_instruction",
    "temperature",
    "thinkingConfig",
    "thinking_config",
    "toolConfig",
    "tool_choice",
    "tool_config",
    "tools",
    "topK",
    "top_k",
    "top_logprobs",
    "top_p",
    "web_search_options",
];

/// A chat request in OpenAI's shape, in the words of this protocol. `model`: what the target calls it. Whether as a stream
/// is said by the path, not by the body.
pub fn request(body: &str, model: &str, _stream: bool) -> Result<Translated<Context>, Inexpressible> {
    let root = Object::parse(body, &At::Root)?;
    let mut dropped = Vec::new();
    let own = Own::of(&root, &mut dropped)?;
    if model.is_empty() {
        return Err(At::Member(&At::Root, "model").wrong("must not be empty"));
    }
    let mut out = String::with_capacity(body.len() + 512);
    out.push('{');
    messages::write(&root, model, &mut out, &mut dropped)?;
    tools::write(&root, &own, &mut out, &mut dropped)?;
    let choices = config::write(&root, &own, model, &mut out, &mut dropped)?;
    for (name, snake) in [("safetySettings", "safety_settings"), ("cachedContent", "cached_content")] {
        if let Some(raw) = own.get(name, snake) {
            write::member(&mut out, name, raw);
        }
    }
    service_tier(&root, &mut out, &mut dropped)?;
    out.push('}');
    root.drop_unknown(&KNOWN, &At::Root, &mut dropped);
    Ok(Translated { body: out, dropped, context: Context { choices, model: model.to_owned() } })
}

/// Members of Gemini's own: at the top of the request by either spelling, or where Google's OpenAI endpoint has them
/// (`extra_body.google`).
pub(super) struct Own<'r, 'a> {
    root: &'r Object<'a>,
    google: Object<'a>,
}

impl<'r, 'a> Own<'r, 'a> {
    fn of(root: &'r Object<'a>, dropped: &mut Vec<Cow<'static, str>>) -> Result<Self, Inexpressible> {
        const KNOWN: [&str; 14] = [
            "cachedContent",
            "cached_content",
            "generationConfig",
            "generation_config",
            "imageConfig",
            "image_config",
            "mediaResolution",
            "media_resolution",
            "safetySettings",
            "safety_settings",
            "thinkingConfig",
            "thinking_config",
            "toolConfig",
            "tool_config",
        ];
        let at = At::Member(&At::Root, "extra_body");
        let extra = root.object("extra_body", &At::Root)?.unwrap_or_default();
        extra.drop_unknown(&["google"], &at, dropped);
        let google = extra.object("google", &at)?.unwrap_or_default();
        google.drop_unknown(&KNOWN, &at.member("google"), dropped);
        Ok(Self { root, google })
    }

    pub(super) fn get(&self, name: &str, snake: &str) -> Option<&'a str> {
        let places = [(self.root, name), (self.root, snake), (&self.google, name), (&self.google, snake)];
        places.into_iter().find_map(|(object, name)| object.get(name))
    }
}

/// Gemini has three tiers of service; `auto` leaves the choice to it.
fn service_tier(
    root: &Object<'_>,
    out: &mut String,
    dropped: &mut Vec<Cow<'static, str>>,
) -> Result<(), Inexpressible> {
    if let Some(own) = root.get("serviceTier") {
        write::member(out, "serviceTier", own);
        return Ok(());
    }
    match root.text("service_tier", &At::Root)?.as_deref() {
        None | Some("auto") => {}
        Some("default" | "standard") => write::member(out, "serviceTier", "\"standard\""),
        Some("flex") => write::member(out, "serviceTier", "\"flex\""),
        Some("priority") => write::member(out, "serviceTier", "\"priority\""),
        Some(_) => dropped.push("service_tier".into()),
    }
    Ok(())
}

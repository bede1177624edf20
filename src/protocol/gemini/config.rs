//! How to generate: Gemini's `generationConfig`.

use std::borrow::Cow;

use super::NAME;
use super::request::Own;
use super::write;
use crate::protocol::read::{At, Object, items, string, text};
use crate::protocol::translate::Inexpressible;

type Dropped = Vec<Cow<'static, str>>;

/// Gemini takes at most this many stop sequences.
const MAX_STOPS: usize = 5;

/// Gemini gives at most this many candidates.
const MAX_CHOICES: usize = 8;

/// Writes `generationConfig`, and says how many choices are asked for.
pub(super) fn write(
    root: &Object<'_>,
    own: &Own<'_, '_>,
    model: &str,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<usize, Inexpressible> {
    let at = &At::Root;
    let mut config = Config::default();
    let limit = match root.integer("max_completion_tokens", at)? {
        Some(_) => root.get("max_completion_tokens"),
        None => root.integer("max_tokens", at)?.and(root.get("max_tokens")),
    };
    config.set("maxOutputTokens", limit);
    config.set("temperature", root.number("temperature", at)?);
    config.set("topP", root.number("top_p", at)?);
    let top_k = if root.get("top_k").is_some() { "top_k" } else { "topK" };
    config.set("topK", root.number(top_k, at)?);
    let choices = choices(root, &mut config)?;
    stops(root, &mut config)?;
    for (name, to) in [("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")] {
        // Some models refuse any penalty, and 0 is none.
        let penalty = root.number(name, at)?;
        config.set(to, penalty.filter(|raw| raw.parse::<f64>().ok() != Some(0.0)));
    }
    if let Some(seed) = root.number("seed", at)? {
        // A best effort in either protocol; Gemini's has 32 bits.
        if seed.parse::<i32>().is_ok() { config.set("seed", Some(seed)) } else { dropped.push("seed".into()) }
    }
    format(root, &mut config, dropped)?;
    probabilities(root, &mut config)?;
    modalities(root, &mut config, dropped)?;
    effort(root, model, &mut config, dropped)?;
    for (name, snake) in [
        ("thinkingConfig", "thinking_config"),
        ("mediaResolution", "media_resolution"),
        ("responseModalities", "response_modalities"),
        ("imageConfig", "image_config"),
    ] {
        config.set(name, own.get(name, snake));
    }
    if let Some(given) = own.get("generationConfig", "generation_config") {
        let at = At::Member(&At::Root, "generationConfig");
        for (name, value) in Object::of(given, &at)?.members() {
            config.set_owned(camel(name), value);
        }
    }
    // What was set in Gemini's own words counts too.
    let own = config.get("candidateCount").and_then(|raw| raw.parse().ok());
    let choices = own.filter(|own| (choices..=MAX_CHOICES).contains(own)).unwrap_or(choices);
    config.write(out);
    Ok(choices)
}

#[derive(Default)]
struct Config<'a>(Vec<(Cow<'static, str>, Cow<'a, str>)>);

impl<'a> Config<'a> {
    /// Sets a member, in place of what it had.
    fn set(&mut self, name: &'static str, raw: Option<&'a str>) {
        if let Some(raw) = raw {
            self.set_owned(name.into(), raw);
        }
    }

    fn set_owned(&mut self, name: Cow<'static, str>, raw: impl Into<Cow<'a, str>>) {
        match self.0.iter_mut().find(|(have, _)| *have == name) {
            Some((_, value)) => *value = raw.into(),
            None => self.0.push((name, raw.into())),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, raw)| &**raw)
    }

    fn write(&self, out: &mut String) {
        if self.0.is_empty() {
            return;
        }
        write::name(out, "generationConfig");
        out.push('{');
        for (name, raw) in &self.0 {
            write::comma(out);
            out.push_str(&crate::protocol::json::quote(name));
            out.push(':');
            out.push_str(raw);
        }
        out.push('}');
    }
}

/// `response_schema` as `responseSchema`: the API takes both, but not both at once.
fn camel(name: &str) -> Cow<'static, str> {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            out.push(letter.to_ascii_uppercase());
        } else {
            out.push(letter);
        }
    }
    out.into()
}

fn choices<'a>(root: &Object<'a>, config: &mut Config<'a>) -> Result<usize, Inexpressible> {
    let at = At::Member(&At::Root, "n");
    match root.integer("n", &At::Root)? {
        None | Some(1) => Ok(1),
        Some(0) => Err(at.wrong("must be a positive integer, got 0")),
        Some(n) => match usize::try_from(n) {
            Ok(n @ 2..=MAX_CHOICES) => {
                config.set("candidateCount", root.get("n"));
                Ok(n)
            }
            _ => Err(at.cannot(NAME, "more than 8 choices")),
        },
    }
}

fn stops<'a>(root: &Object<'a>, config: &mut Config<'a>) -> Result<(), Inexpressible> {
    let at = At::Member(&At::Root, "stop");
    let Some(raw) = root.get("stop") else { return Ok(()) };
    if raw.starts_with('"') {
        config.set_owned("stopSequences".into(), format!("[{raw}]"));
        return Ok(());
    }
    let stops = items(raw, "a string or an array of strings", &at)?;
    for (number, stop) in stops.iter().enumerate() {
        string(stop, &at.item(number))?;
    }
    match stops.len() {
        0 => {}
        1..=MAX_STOPS => config.set("stopSequences", Some(raw)),
        _ => return Err(at.cannot(NAME, "more than 5 stop sequences")),
    }
    Ok(())
}

/// The format of the answer. `responseJsonSchema` takes JSON Schema as it stands.
fn format<'a>(
    root: &Object<'a>,
    config: &mut Config<'a>,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let at = At::Member(&At::Root, "response_format");
    let Some(format) = root.object("response_format", &At::Root)? else { return Ok(()) };
    format.drop_unknown(&["type", "json_schema"], &at, dropped);
    let type_at = at.member("type");
    match format.text("type", &at)?.as_deref() {
        Some("text") => return Ok(()),
        Some("json_object") => {}
        Some("json_schema") => {
            let at = at.member("json_schema");
            let Some(given) = format.object("json_schema", &at)? else {
                return Err(at.must_be("an object", format.raw("json_schema")));
            };
            // The name is for errors alone, and a schema is always kept to.
            given.drop_unknown(&["name", "strict", "schema"], &at, dropped);
            if let Some(schema) = given.get("schema") {
                if !schema.starts_with('{') {
                    return Err(at.member("schema").must_be("an object", schema));
                }
                config.set("responseJsonSchema", Some(schema));
            }
        }
        Some(_) => return Err(type_at.cannot(NAME, "formats other than text, json_object and json_schema")),
        None => return Err(type_at.must_be("text, json_object or json_schema", format.raw("type"))),
    }
    config.set("responseMimeType", Some("\"application/json\""));
    Ok(())
}

fn probabilities<'a>(root: &Object<'a>, config: &mut Config<'a>) -> Result<(), Inexpressible> {
    let at = At::Member(&At::Root, "top_logprobs");
    let asked = root.bool("logprobs", &At::Root)? == Some(true);
    let top = root.integer("top_logprobs", &At::Root)?;
    match top {
        Some(top) if top > 0 && !asked => return Err(at.wrong("must not be set without logprobs: true")),
        Some(top) if top > 20 => return Err(at.wrong("must be at most 20")),
        _ => {}
    }
    if asked {
        config.set("responseLogprobs", Some("true"));
        config.set("logprobs", root.get("top_logprobs").filter(|raw| *raw != "0"));
    }
    Ok(())
}

/// What the answer may be made of. `image` is no modality of OpenAI's chat, but of others that speak its protocol.
fn modalities<'a>(
    root: &Object<'a>,
    config: &mut Config<'a>,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let at = At::Member(&At::Root, "modalities");
    let mut image = false;
    let mut text_too = false;
    if let Some(raw) = root.get("modalities") {
        for (number, item) in items(raw, "an array of modalities", &at)?.iter().enumerate() {
            let at = at.item(number);
            match &*text(item, &at)? {
                "text" => text_too = true,
                "image" => image = true,
                "audio" => return Err(at.cannot(NAME, "audio as OpenAI has it in an answer")),
                _ => return Err(at.wrong("must be text or image")),
            }
        }
    }
    if root.get("audio").is_some() {
        dropped.push("audio".into());
    }
    if image {
        let both = r#"["TEXT","IMAGE"]"#;
        config.set("responseModalities", Some(if text_too { both } else { r#"["IMAGE"]"# }));
    }
    Ok(())
}

/// How hard to think, as Google's own OpenAI endpoint has it (ai.google.dev/gemini-api/docs/openai#thinking): a level from
/// Gemini 3 on, a budget of tokens for 2.5. Who asks for effort sees the thoughts, as `reasoning_content`.
fn effort<'a>(
    root: &Object<'a>,
    model: &str,
    config: &mut Config<'a>,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let Some(effort) = root.text("reasoning_effort", &At::Root)? else { return Ok(()) };
    let at = At::Member(&At::Root, "reasoning_effort");
    if !matches!(&*effort, "none" | "minimal" | "low" | "medium" | "high" | "xhigh") {
        return Err(at.wrong("must be none, minimal, low, medium, high or xhigh"));
    }
    let thinking = match (thinking_of(model), &*effort) {
        (Thinking::None, "none") => return Ok(()),
        (Thinking::None, _) => {
            dropped.push("reasoning_effort".into());
            return Ok(());
        }
        (Thinking::Budget { least: 0 }, "none") => r#"{"thinkingBudget":0}"#,
        (Thinking::Budget { .. }, "none") => r#"{"thinkingBudget":128}"#,
        (Thinking::Budget { .. }, "minimal" | "low") => r#"{"thinkingBudget":1024,"includeThoughts":true}"#,
        (Thinking::Budget { .. }, "medium") => r#"{"thinkingBudget":8192,"includeThoughts":true}"#,
        (Thinking::Budget { .. }, _) => r#"{"thinkingBudget":24576,"includeThoughts":true}"#,
        (Thinking::Level { minimal: true }, "none") => r#"{"thinkingLevel":"MINIMAL"}"#,
        (Thinking::Level { minimal: false }, "none") => r#"{"thinkingLevel":"LOW"}"#,
        (Thinking::Level { minimal: true }, "minimal") => {
            r#"{"thinkingLevel":"MINIMAL","includeThoughts":true}"#
        }
        (Thinking::Level { .. }, "minimal" | "low") => r#"{"thinkingLevel":"LOW","includeThoughts":true}"#,
        (Thinking::Level { .. }, "medium") => r#"{"thinkingLevel":"MEDIUM","includeThoughts":true}"#,
        (Thinking::Level { .. }, _) => r#"{"thinkingLevel":"HIGH","includeThoughts":true}"#,
    };
    // Some models always think, and none thinks harder than high: the nearest is taken, and said.
    let nearest = match &*effort {
        "none" => thinking_of(model) != Thinking::Budget { least: 0 },
        effort => effort == "xhigh",
    };
    if nearest {
        dropped.push("reasoning_effort".into());
    }
    config.set("thinkingConfig", Some(thinking));
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thinking {
    None,
    Budget {
        /// The fewest tokens: 0 where thinking can be turned off.
        least: u16,
    },
    Level {
        /// Whether it knows a level below low.
        minimal: bool,
    },
}

/// How a model is told to think. Older ones are known by name; what is unknown is taken for new.
fn thinking_of(model: &str) -> Thinking {
    let name = model.rsplit('/').next().unwrap_or(model);
    // ai.google.dev/gemini-api/docs/thinking#set-budget
    if name.starts_with("gemini-2.5") {
        return Thinking::Budget { least: if name.starts_with("gemini-2.5-pro") { 128 } else { 0 } };
    }
    let old = ["gemini-1", "gemini-2", "gemini-pro", "gemma-2", "gemma-3", "learnlm"];
    if old.iter().any(|old| name.starts_with(old)) {
        return Thinking::None;
    }
    Thinking::Level { minimal: has_minimal(name) }
}

/// Flash models know `minimal`, but not those from 3.7 on unless they are lite; Pro models never do.
fn has_minimal(name: &str) -> bool {
    if !name.contains("flash") {
        return false;
    }
    if name.contains("lite") {
        return true;
    }
    let version = name.strip_prefix("gemini-").and_then(|rest| rest.split('-').next()).unwrap_or("");
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(major), Ok(minor)) => (major, minor) < (3, 7),
        _ => false,
    }
}

/// Whether a model refuses calls without a thought signature: from Gemini 3 on.
pub(super) fn insists_on_signatures(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.starts_with("gemini-") && matches!(thinking_of(model), Thinking::Level { .. })
}

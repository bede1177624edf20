//! Reads a request as strictly as the provider does: what it refuses with 400 is refused here in its words. From the
//! API reference, "Tool use", "Vision", "Extended thinking", "Structured outputs", and the messages of its errors.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::tables;
use crate::mock::shape::{self, Habits, Shape, Step, What, Wrong};

/// Whether the provider would take it; or else what it would say.
pub(super) fn check(body: &Value, is_beta: bool) -> Result<(), String> {
    let shape = if is_beta { &tables::BETA_REQUEST } else { &tables::REQUEST };
    if let Some(wrong) = shape::check(body, shape, Habits::Exact).first() {
        return Err(told(wrong));
    }
    numbers(body)?;
    let names = tools(body)?;
    tool_choice(body, &names)?;
    if let Some(blocks) = body["system"].as_array() {
        blocks.iter().try_for_each(|block| text("system", block))?;
    }
    if let Some(schema) = body.pointer("/output_config/format/schema") {
        closed(schema, "output_config.format.schema")?;
    }
    let messages = list(&body["messages"]);
    roles(messages)?;
    for (at, message) in messages.iter().enumerate() {
        let is_last = at + 1 == messages.len();
        content(at, message, is_last)?;
    }
    tool_turns(messages)?;
    thinking(body, messages)
}

/// What is wrong with a value's kind, as the provider's own checker words it.
fn told(wrong: &Wrong<'_>) -> String {
    let mut path = dotted(&wrong.path);
    let what = match &wrong.what {
        What::Missing => "Field required".to_owned(),
        What::Unknown(name) => {
            path = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
            "Extra inputs are not permitted".to_owned()
        }
        What::Tag(found, expected) => format!(
            "Input tag '{}' found using 'type' does not match any of the expected tags: {}",
            found.as_str().map_or_else(|| found.to_string(), str::to_owned),
            quoted(expected, ", ")
        ),
        What::Kind(shape, _) => match shape {
            Shape::Text => "Input should be a valid string".to_owned(),
            Shape::Flag => "Input should be a valid boolean".to_owned(),
            Shape::Whole => "Input should be a valid integer".to_owned(),
            Shape::Number => "Input should be a valid number".to_owned(),
            Shape::Bytes => "invalid base64 data".to_owned(),
            Shape::List(_) => "Input should be a valid list".to_owned(),
            Shape::Word(_, words) => format!("Input should be {}", quoted(words, " or ")),
            _ => "Input should be a valid dictionary".to_owned(),
        },
    };
    if path.is_empty() { what } else { format!("{path}: {what}") }
}

fn dotted(path: &[Step<'_>]) -> String {
    let step = |step: &Step<'_>| match step {
        Step::Key(name) | Step::Tag(name) => (*name).to_owned(),
        Step::At(at) => at.to_string(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

fn quoted(words: &[&str], between: &str) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(between)
}

fn numbers(body: &Value) -> Result<(), String> {
    if body["max_tokens"].as_f64().is_some_and(|n| n < 0.0) {
        return Err("max_tokens: Input should be greater than or equal to 0".to_owned());
    }
    for name in ["temperature", "top_p"] {
        if body[name].as_f64().is_some_and(|n| !(0.0..=1.0).contains(&n)) {
            return Err(format!("{name}: range: 0..1"));
        }
    }
    if body["top_k"].as_f64().is_some_and(|n| n < 0.0) {
        return Err("top_k: Input should be greater than or equal to 0".to_owned());
    }
    let blank = |stop: &Value| stop.as_str().is_some_and(|stop| stop.trim().is_empty());
    if let Some(at) = list(&body["stop_sequences"]).iter().position(blank) {
        return Err(format!("stop_sequences.{at}: each stop sequence must contain non-whitespace"));
    }
    Ok(())
}

/// The names of the tools.
fn tools(body: &Value) -> Result<HashSet<&str>, String> {
    let mut names = HashSet::new();
    for (at, tool) in list(&body["tools"]).iter().enumerate() {
        match &tool["type"] {
            Value::Null => {}
            Value::String(kind) if kind == "custom" => {}
            // The provider's own tools: a name and a date.
            Value::String(kind) if is_dated(kind) => {
                names.extend(tool["name"].as_str());
                continue;
            }
            other => {
                return Err(format!(
                    "tools.{at}: Input tag {} found using 'type' does not match any of the expected tags: 'custom', …",
                    other.to_string().replace('"', "'")
                ));
            }
        }
        if let Some(wrong) = shape::check(tool, &tables::TOOL, Habits::Exact).first() {
            return Err(format!("tools.{at}.custom.{}", told(wrong)));
        }
        let name = tool["name"].as_str().unwrap_or_default();
        if !is_name(name, 128) {
            return Err(format!(
                "tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            ));
        }
        match tool["input_schema"].get("type") {
            None => return Err(format!("tools.{at}.custom.input_schema.type: Field required")),
            Some(kind) if kind != "object" => {
                return Err(format!("tools.{at}.custom.input_schema.type: Input should be 'object'"));
            }
            Some(_) => {}
        }
        if tool["strict"] == true {
            closed(&tool["input_schema"], &format!("tools.{at}.custom.input_schema"))?;
        }
        if !names.insert(name) {
            return Err("tools: Tool names must be unique.".to_owned());
        }
    }
    Ok(names)
}

fn tool_choice(body: &Value, names: &HashSet<&str>) -> Result<(), String> {
    let choice = &body["tool_choice"];
    if choice.is_null() {
        return Ok(());
    }
    if names.is_empty() {
        return Err("tool_choice: may only be specified while providing `tools`".to_owned());
    }
    match choice["name"].as_str().filter(|_| choice["type"] == "tool") {
        Some(name) if !names.contains(name) => {
            Err(format!("tool_choice.tool.name: Tool '{name}' not found in provided tools"))
        }
        _ => Ok(()),
    }
}

/// "Structured outputs" takes objects only that say they hold nothing else.
fn closed(schema: &Value, path: &str) -> Result<(), String> {
    let Value::Object(fields) = schema else { return Ok(()) };
    if fields.get("type").is_some_and(|kind| kind == "object")
        && fields.get("additionalProperties") != Some(&Value::Bool(false))
    {
        return Err(format!(
            "{path}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        ));
    }
    for name in ["properties", "$defs", "definitions"] {
        for (key, inner) in fields.get(name).and_then(Value::as_object).into_iter().flatten() {
            closed(inner, &format!("{path}.{name}.{key}"))?;
        }
    }
    for name in ["anyOf", "allOf"] {
        for (at, inner) in fields.get(name).map_or(&[][..], list).iter().enumerate() {
            closed(inner, &format!("{path}.{name}.{at}"))?;
        }
    }
    fields.get("items").map_or(Ok(()), |items| closed(items, &format!("{path}.items")))
}

fn roles(messages: &[Value]) -> Result<(), String> {
    let role = |at: usize| messages.get(at).and_then(|message| message["role"].as_str());
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    if role(0) != Some("user") {
        return Err("messages: first message must use the \"user\" role".to_owned());
    }
    // Only within a conversation, and there only after a turn of the user's.
    let misplaced = |at: &usize| role(*at) == Some("system") && role(*at - 1) != Some("user");
    match (1..messages.len()).find(misplaced) {
        Some(at) => Err(format!("messages.{at}.role: a `system` message must follow a `user` message")),
        None => Ok(()),
    }
}

fn content(at: usize, message: &Value, is_last: bool) -> Result<(), String> {
    let role = message["role"].as_str().unwrap_or_default();
    let is_prefill = is_last && role == "assistant";
    let empty = match &message["content"] {
        Value::String(text) => text.is_empty(),
        other => list(other).is_empty(),
    };
    if empty && !is_prefill {
        return Err(format!(
            "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        ));
    }
    let blocks = list(&message["content"]);
    let last_text = match &message["content"] {
        Value::String(text) => Some(text.as_str()),
        _ => blocks.last().filter(|block| block["type"] == "text").and_then(|block| block["text"].as_str()),
    };
    if is_prefill && last_text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
        return Err("messages: final assistant content cannot end with trailing whitespace".to_owned());
    }
    for (number, block) in blocks.iter().enumerate() {
        let kind = block["type"].as_str().unwrap_or_default();
        let place = format!("messages.{at}.content.{number}");
        let only = match kind {
            "tool_use" | "thinking" | "redacted_thinking" | "server_tool_use" => Some("assistant"),
            "tool_result" | "image" | "document" | "search_result" => Some("user"),
            _ => None,
        };
        if let Some(only) = only.filter(|only| *only != role) {
            return Err(format!("{place}: `{kind}` blocks can only be in `{only}` messages"));
        }
        match kind {
            "text" => text("messages", block).map_err(|said| said.replacen("messages", &place, 1))?,
            "image" | "document" => source(&place, kind, block)?,
            "tool_use" => {
                let name = block["name"].as_str().unwrap_or_default();
                if !is_name(block["id"].as_str().unwrap_or_default(), usize::MAX) {
                    return Err(format!(
                        "{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
                    ));
                }
                if !is_name(name, 200) {
                    return Err(format!(
                        "{place}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'"
                    ));
                }
            }
            "tool_result" => {
                for (inner, block) in list(&block["content"]).iter().enumerate() {
                    let place = format!("{place}.tool_result.content.{inner}");
                    match block["type"].as_str() {
                        Some("text") => {
                            text("messages", block).map_err(|said| said.replacen("messages", &place, 1))?;
                        }
                        Some(kind @ ("image" | "document")) => source(&place, kind, block)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn text(place: &str, block: &Value) -> Result<(), String> {
    match block["text"].as_str() {
        Some("") => Err(format!("{place}: text content blocks must be non-empty")),
        Some(text) if text.trim().is_empty() => {
            Err(format!("{place}: text content blocks must contain non-whitespace text"))
        }
        _ => Ok(()),
    }
}

fn source(place: &str, kind: &str, block: &Value) -> Result<(), String> {
    let source = &block["source"];
    match source["type"].as_str() {
        Some("url") if !source["url"].as_str().unwrap_or_default().starts_with("https://") => {
            Err(format!("{place}.{kind}.source.url.url: Only HTTPS URLs are supported."))
        }
        Some("base64") if source["data"].as_str().unwrap_or_default().is_empty() => {
            Err(format!("{place}.{kind}.source.base64.data: {kind} cannot be empty"))
        }
        _ => Ok(()),
    }
}

/// Every `tool_use` has its `tool_result` at the beginning of the next message, and none is without.
fn tool_turns(messages: &[Value]) -> Result<(), String> {
    let mut used = HashSet::new();
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let blocks = list(&message["content"]);
        let first_other =
            blocks.iter().position(|block| block["type"] != "tool_result").unwrap_or(blocks.len());
        let mut answered = HashSet::new();
        for (number, block) in blocks.iter().enumerate().filter(|(_, block)| block["type"] == "tool_result") {
            let id = block["tool_use_id"].as_str().unwrap_or_default();
            if !open.contains(&id) {
                return Err(format!(
                    "messages.{at}.content.{number}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. \
                     Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                ));
            }
            if !answered.insert(id) {
                return Err(format!(
                    "messages.{at}.content.{number}: each tool_use must have a single result. \
                     Found multiple `tool_result` blocks with id: {id}"
                ));
            }
            if number > first_other {
                answered.remove(id);
            }
        }
        unanswered(at, &open, &answered)?;
        open.clear();
        for block in blocks.iter().filter(|block| block["type"] == "tool_use") {
            let id = block["id"].as_str().unwrap_or_default();
            if !used.insert(id) {
                return Err(format!("messages.{at}: `tool_use` ids must be unique"));
            }
            open.push(id);
        }
    }
    unanswered(messages.len(), &open, &HashSet::new())
}

fn unanswered(at: usize, open: &[&str], answered: &HashSet<&str>) -> Result<(), String> {
    let missing: Vec<_> = open.iter().filter(|id| !answered.contains(**id)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. \
         Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        at.saturating_sub(1),
        missing.join(", ")
    ))
}

fn thinking(body: &Value, messages: &[Value]) -> Result<(), String> {
    let thinking = &body["thinking"];
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_f64().unwrap_or_default();
        if budget < 1024.0 {
            return Err(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024".to_owned()
            );
        }
        if body["max_tokens"].as_f64().is_some_and(|most| most <= budget) {
            return Err("`max_tokens` must be greater than `thinking.budget_tokens`.".to_owned());
        }
    }
    if !matches!(thinking["type"].as_str(), Some("enabled" | "adaptive")) {
        return Ok(());
    }
    if body["temperature"].as_f64().is_some_and(|n| n < 1.0) {
        return Err("temperature: `temperature` may only be set to 1 when thinking is enabled.".to_owned());
    }
    if matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")) {
        return Err("tool_choice: Thinking may not be enabled when tool_choice forces tool use.".to_owned());
    }
    if messages.last().is_some_and(|last| last["role"] == "assistant") {
        return Err(format!(
            "messages.{}: When thinking is enabled, a final `assistant` message is not taken as the beginning of the answer.",
            messages.len() - 1
        ));
    }
    Ok(())
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_name(name: &str, most: usize) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    (1..=most).contains(&name.len()) && name.bytes().all(known)
}

/// `web_search_20250305`.
fn is_dated(kind: &str) -> bool {
    let date = kind.rsplit_once('_').map_or("", |(_, date)| date);
    date.len() == 8 && date.bytes().all(|c| c.is_ascii_digit())
}

/// The objects of a list.
pub(super) fn objects(value: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    list(value).iter().filter_map(Value::as_object)
}

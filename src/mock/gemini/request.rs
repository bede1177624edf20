//! Reads a request as strictly as the provider does: what it refuses with 400 is refused here in its words. From the
//! API reference, "Function calling", "Structured outputs", "Thinking", and the messages of its errors.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    schema,
    tables::{self, DATA},
    turns::turns,
};
use crate::mock::{
    refusal::{Invalid, Refusal},
    shape::{self, Habits, Shape, Step, What, Wrong, camel, snake},
};

pub(super) fn check(body: &Value) -> Result<(), Refusal> {
    let body = shaped(body, &tables::GENERATE)?;
    let mut wrong = Vec::new();
    let contents = list(&body["contents"]);
    if contents.is_empty() {
        wrong.push("contents: contents is not specified".to_owned());
    }
    for (at, content) in contents.iter().enumerate() {
        parts(content, &format!("contents[{at}]"), &mut wrong);
    }
    if let Some(system) = body.get("systemInstruction") {
        parts(system, "system_instruction", &mut wrong);
        if list(&system["parts"]).iter().any(|part| part.get("text").is_none()) {
            wrong.push("system_instruction.parts: must be texts".to_owned());
        }
    }
    let names = tools(&body, &mut wrong);
    generation(&body["generationConfig"], &mut wrong);
    tool_config(&body, &names, &mut wrong);
    safety(&body, &mut wrong);
    if !wrong.is_empty() {
        return Err(listed("GenerateContentRequest", &wrong));
    }
    turns(contents).map_err(Refusal::from)
}

/// The body by its table, with the names as the table has them.
pub(super) fn shaped(body: &Value, shape: &'static Shape) -> Result<Value, Refusal> {
    let wrong = shape::check(body, shape, Habits::Proto);
    if wrong.is_empty() {
        return Ok(camel(body, shape));
    }
    let fields: Vec<_> = wrong.iter().map(told).collect();
    let message = fields.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>().join("\n");
    Err(Refusal::Invalid(Invalid { message, fields }))
}

fn told(wrong: &Wrong<'_>) -> (Option<String>, String) {
    let path = dotted(&wrong.path);
    let told = match &wrong.what {
        What::Unknown(name) => {
            let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
            format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.")
        }
        What::Kind(Shape::Bytes, Value::String(text)) => {
            format!("Invalid value at '{path}' (TYPE_BYTES), Base64 decoding failed for \"{text}\"")
        }
        What::Kind(shape, value) => match shape {
            _ if value.is_array() => {
                format!(
                    "Invalid JSON payload received. Proto field '{path}' is not repeating, cannot start list."
                )
            }
            Shape::Word(name, _) => {
                format!(
                    "Invalid value at '{path}' (type.googleapis.com/google.ai.generativelanguage.v1beta.{name}), {value}"
                )
            }
            shape => format!("Invalid value at '{path}' ({}), {value}", kind(shape)),
        },
        What::Missing | What::Tag(..) => format!("Invalid value at '{path}'"),
    };
    ((!path.is_empty()).then_some(path), told)
}

fn kind(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text => "TYPE_STRING",
        Shape::Flag => "TYPE_BOOL",
        Shape::Whole => "TYPE_INT32",
        Shape::Number => "TYPE_FLOAT",
        Shape::Bytes => "TYPE_BYTES",
        Shape::List(_) => "a list",
        _ => "an object",
    }
}

fn dotted(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        match step {
            Step::Key(name) | Step::Tag(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&snake(name));
            }
            Step::At(at) => out.push_str(&format!("[{at}]")),
        }
    }
    out
}

pub(super) fn listed(request: &str, wrong: &[String]) -> Refusal {
    let line = |what: &String| format!("* {request}.{what}\n");
    let fields = wrong.iter().map(|what| {
        let (field, what) = what.split_once(": ").unwrap_or(("", what));
        (Some(field.to_owned()), what.to_owned())
    });
    Refusal::Invalid(Invalid { message: wrong.iter().map(line).collect(), fields: fields.collect() })
}

fn parts(content: &Value, place: &str, wrong: &mut Vec<String>) {
    let parts = list(&content["parts"]);
    if parts.is_empty() {
        wrong.push(format!("{place}.parts: contents.parts must not be empty."));
    }
    for (at, part) in parts.iter().enumerate() {
        let place = format!("{place}.parts[{at}]");
        match DATA.iter().filter(|name| part.get(**name).is_some()).count() {
            0 => wrong
                .push(format!("{place}.data: required oneof field 'data' must have one initialized field")),
            1 => {}
            _ => wrong.push(format!("{place}.data: oneof field 'data' is already set.")),
        }
        let is_empty =
            |pointer: &str| part.pointer(pointer).and_then(Value::as_str).is_none_or(str::is_empty);
        // What a signature comes with may be empty.
        if part["text"] == "" && part.get("thoughtSignature").is_none() {
            wrong.push(format!(
                "{place}.text: it has an empty text parameter. Add a value to the parameter and try again."
            ));
        }
        let needed: [(&str, &[&str]); 4] = [
            ("inlineData", &["mimeType", "data"]),
            ("fileData", &["fileUri"]),
            ("functionCall", &["name"]),
            ("functionResponse", &["name"]),
        ];
        for (data, names) in needed.iter().filter(|(data, _)| part.get(*data).is_some()) {
            for name in names.iter().filter(|name| is_empty(&format!("/{data}/{name}"))) {
                wrong.push(format!("{place}.{}.{}: must not be empty", snake(data), snake(name)));
            }
        }
        if part.get("functionResponse").is_some_and(|answer| answer.get("response").is_none()) {
            wrong.push(format!("{place}.function_response.response: must be set"));
        }
    }
}

/// The names of the functions.
fn tools<'b>(body: &'b Value, wrong: &mut Vec<String>) -> HashSet<&'b str> {
    let mut names = HashSet::new();
    for (at, tool) in list(&body["tools"]).iter().enumerate() {
        if tool.as_object().is_some_and(serde_json::Map::is_empty) {
            wrong.push(format!(
                "tools[{at}].tool_type: required one_of 'tool_type' must have one initialized field"
            ));
        }
        for (number, function) in list(&tool["functionDeclarations"]).iter().enumerate() {
            let place = format!("tools[{at}].function_declarations[{number}]");
            let name = function["name"].as_str().unwrap_or_default();
            if !is_name(name) {
                wrong.push(format!(
                    "{place}.name: Invalid function name. Must start with a letter or an underscore. Must be alphameric \
                     (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:) or dashes (-), with a maximum length of 128."
                ));
            }
            if !names.insert(name) {
                wrong.push(format!("{place}.name: Duplicate function declaration found: {name}"));
            }
            if function.get("parameters").is_some() && function.get("parametersJsonSchema").is_some() {
                wrong.push(format!("{place}: only one of parameters and parameters_json_schema can be set"));
            }
            if let Some(parameters) = function.get("parameters") {
                if parameters["type"] != "OBJECT" {
                    wrong.push(format!("{place}.parameters.type: must be OBJECT"));
                }
                schema::check(parameters, &format!("{place}.parameters"), wrong);
            }
            if function.get("parametersJsonSchema").is_some_and(|schema| !schema.is_object()) {
                wrong.push(format!("{place}.parameters_json_schema: must be an object"));
            }
        }
    }
    names
}

fn tool_config(body: &Value, names: &HashSet<&str>, wrong: &mut Vec<String>) {
    let Some(config) = body.pointer("/toolConfig/functionCallingConfig") else { return };
    let place = "tool_config.function_calling_config";
    let mode = config["mode"].as_str().unwrap_or("AUTO");
    if names.is_empty() && mode != "NONE" {
        wrong.push(format!("{place}: Function calling config is set without function_declarations."));
    }
    let allowed = list(&config["allowedFunctionNames"]);
    if !allowed.is_empty() && !matches!(mode, "ANY" | "VALIDATED") {
        wrong.push(format!(
            "{place}.allowed_function_names: should only be set when the mode is ANY or VALIDATED"
        ));
    }
    for (at, name) in allowed.iter().enumerate() {
        if !name.as_str().is_some_and(|name| names.contains(name)) {
            wrong.push(format!("{place}.allowed_function_names[{at}]: {name} is no declared function"));
        }
    }
}

fn generation(config: &Value, wrong: &mut Vec<String>) {
    let mut note = |what: &str| wrong.push(format!("generation_config.{what}"));
    let number = |name: &str| config[name].as_f64();
    let count = |name: &str| whole(&config[name]);
    if number("temperature").is_some_and(|n| !(0.0..=2.0).contains(&n)) {
        note("temperature: temperature must be in the range [0.0, 2.0].");
    }
    if number("topP").is_some_and(|n| !(0.0..=1.0).contains(&n)) {
        note("top_p: top_p must be in the range [0.0, 1.0].");
    }
    for (name, what) in [
        ("presencePenalty", "presence_penalty: must be in the range [-2.0, 2.0)."),
        ("frequencyPenalty", "frequency_penalty: must be in the range [-2.0, 2.0)."),
    ] {
        if number(name).is_some_and(|n| !(-2.0..2.0).contains(&n)) {
            note(what);
        }
    }
    if count("topK").is_some_and(|n| n < 1) {
        note("top_k: top_k must be positive.");
    }
    if count("candidateCount").is_some_and(|n| !(1..=8).contains(&n)) {
        note("candidate_count: candidate_count must be in the range [1, 8].");
    }
    if count("maxOutputTokens").is_some_and(|n| n < 1) {
        note("max_output_tokens: max_output_tokens must be positive.");
    }
    if count("seed").is_some_and(|n| i32::try_from(n).is_err()) {
        note("seed: must fit 32 bits.");
    }
    if list(&config["stopSequences"]).len() > 5 {
        note("stop_sequences: must have at most 5 stop sequences.");
    }
    if list(&config["stopSequences"]).iter().any(|stop| stop == "") {
        note("stop_sequences: must not be empty.");
    }
    if config.get("logprobs").is_some() && config["responseLogprobs"] != true {
        note("logprobs: response_logprobs must be true.");
    }
    if count("logprobs").is_some_and(|n| !(0..=20).contains(&n)) {
        note("logprobs: must be in the range [0, 20].");
    }
    let mime = config["responseMimeType"].as_str();
    let allowed = ["text/plain", "application/json", "application/xml", "application/yaml", "text/x.enum"];
    if mime.is_some_and(|mime| !allowed.contains(&mime)) {
        note(
            "response_mime_type: allowed mimetypes are `text/plain`, `application/json`, `application/xml`, \
             `application/yaml` and `text/x.enum`.",
        );
    }
    let schemas = ["responseSchema", "responseJsonSchema", "_responseJsonSchema"];
    let given: Vec<_> = schemas.iter().filter(|name| config.get(**name).is_some()).collect();
    if given.len() > 1 {
        note("response_schema: only one of response_schema and response_json_schema can be set.");
    }
    if !given.is_empty() && !matches!(mime, Some("application/json" | "text/x.enum")) {
        note("response_mime_type: must be `application/json` where there is a response schema.");
    }
    let thinking = &config["thinkingConfig"];
    if thinking.get("thinkingBudget").is_some() && thinking.get("thinkingLevel").is_some() {
        note("thinking_config: You can only set one of thinking budget and thinking level.");
    }
    if let Some(response) = config.get("responseSchema") {
        schema::check(response, "generation_config.response_schema", wrong);
    }
}

fn safety(body: &Value, wrong: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (at, setting) in list(&body["safetySettings"]).iter().enumerate() {
        if !seen.insert(setting["category"].as_str()) {
            wrong.push(format!(
                "safety_settings[{at}]: only one safety setting may be specified for each category"
            ));
        }
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A whole number, which may be a text.
#[expect(clippy::cast_possible_truncation, reason = "the table has let whole numbers pass alone")]
pub(super) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64().map(|n| n as i64),
    }
}

fn is_name(name: &str) -> bool {
    let known = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b':' | b'-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.len() <= 128 && name.bytes().all(known)
}

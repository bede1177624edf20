//! A request of Gemini's in OpenAI's shape: the way back from any translation, written from the documentation of both
//! and not from the translation.

use serde_json::{Map, Value, json};

use super::{request::list, tables};
use crate::mock::{
    route::{Endpoint, Route},
    shape::camel,
    view::{content_of, image, text_part},
};

/// Takes what is there: what is wrong in it was said elsewhere.
pub(in crate::mock) fn openai(route: &Route<'_>, body: &Value) -> Value {
    let Value::Object(fields) = camel(body, &tables::GENERATE) else { return body.clone() };
    let mut out = Map::new();
    if let Some(model) = &route.model {
        out.insert("model".to_owned(), model.as_ref().into());
    }
    if matches!(route.endpoint, Endpoint::StreamedChat { .. }) {
        out.insert("stream".to_owned(), true.into());
    }
    let mut talk = Talk::default();
    if let Some(system) = fields.get("systemInstruction") {
        let parts = list(&system["parts"]).iter().filter_map(part).collect();
        talk.messages.push(json!({ "role": "system", "content": content_of(parts) }));
    }
    for (name, value) in fields {
        match name.as_str() {
            "contents" => list(&value).iter().for_each(|content| talk.turn(content)),
            "generationConfig" => generation(value, &mut out),
            "tools" => {
                let tools: Vec<_> = list(&value).iter().flat_map(tools).collect();
                out.insert("tools".to_owned(), tools.into());
            }
            "toolConfig" => {
                if let Some(choice) = value.get("functionCallingConfig").and_then(tool_choice) {
                    out.insert("tool_choice".to_owned(), choice);
                }
            }
            "model" | "systemInstruction" => {}
            "serviceTier" => drop(out.insert("service_tier".to_owned(), value)),
            other => drop(out.insert(other.to_owned(), value)),
        }
    }
    out.insert("messages".to_owned(), talk.messages.into());
    out.into()
}

/// A request for embeddings, of one input or several.
pub(in crate::mock) fn embed_as_openai(route: &Route<'_>, body: &Value) -> Value {
    let text = |request: &Value| -> Value {
        list(&request["content"]["parts"])
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<String>()
            .into()
    };
    let (input, first) = match route.endpoint {
        Endpoint::Embeddings => {
            let body = camel(body, &tables::BATCH_EMBED);
            let requests = list(&body["requests"]);
            (requests.iter().map(text).collect(), requests.first().cloned().unwrap_or_default())
        }
        _ => {
            let body = camel(body, &tables::EMBED);
            (text(&body), body)
        }
    };
    let mut out = json!({ "model": route.model, "input": input });
    if let (Some(dimensions), Value::Object(out)) = (first.get("outputDimensionality"), &mut out) {
        out.insert("dimensions".to_owned(), dimensions.clone());
    }
    out
}

/// A conversation as it is read: calls have no ids of necessity, and get some by which their responses are found.
#[derive(Default)]
struct Talk {
    messages: Vec<Value>,
    calls: usize,
    /// The name, and the id that was given to it.
    open: Vec<(Value, Value)>,
}

impl Talk {
    fn turn(&mut self, content: &Value) {
        let parts = list(&content["parts"]);
        for response in parts.iter().filter_map(|part| part.get("functionResponse")) {
            let place = self.open.iter().position(|(name, id)| {
                response.get("id").map_or_else(|| *name == response["name"], |own| own == id)
            });
            let given = place.map(|place| self.open.remove(place).1);
            let id = response.get("id").cloned().or(given).unwrap_or_default();
            let content = result(&response["response"]);
            self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
        }
        let calls: Vec<_> =
            parts.iter().filter_map(|part| part.get("functionCall")).map(|call| self.call(call)).collect();
        let is_thought = |part: &&Value| part["thought"] == true;
        let thoughts: String =
            parts.iter().filter(is_thought).filter_map(|part| part["text"].as_str()).collect();
        let said: Vec<_> = parts.iter().filter(|part| !is_thought(part)).filter_map(part).collect();
        if said.is_empty() && calls.is_empty() && thoughts.is_empty() {
            return;
        }
        let role = if content["role"] == "model" { "assistant" } else { "user" };
        let content = if said.is_empty() { Value::Null } else { content_of(said) };
        let mut message = json!({ "role": role, "content": content });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        if !thoughts.is_empty() {
            message["reasoning_content"] = thoughts.into();
        }
        self.messages.push(message);
    }

    fn call(&mut self, call: &Value) -> Value {
        let id = call.get("id").cloned().unwrap_or_else(|| format!("call_{}", self.calls).into());
        self.calls += 1;
        self.open.push((call["name"].clone(), id.clone()));
        let arguments = call.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
        json!({ "id": id, "type": "function", "function": { "name": call["name"], "arguments": arguments } })
    }
}

/// What a function has answered: a text has to be wrapped, in one of the members that the documentation names.
fn result(response: &Value) -> Value {
    let only = response.as_object().filter(|fields| fields.len() == 1);
    let text =
        only.and_then(|fields| ["output", "result", "content"].iter().find_map(|name| fields.get(*name)));
    match text {
        Some(Value::String(text)) => text.clone().into(),
        _ => response.to_string().into(),
    }
}

fn part(part: &Value) -> Option<Value> {
    if let Some(text) = part.get("text") {
        // An empty one carries a signature alone.
        return (text != "").then(|| text_part(text));
    }
    let media = |data: &Value| data["mimeType"].as_str().unwrap_or_default().to_owned();
    if let Some(data) = part.get("inlineData") {
        let (media, bytes) = (media(data), data["data"].as_str().unwrap_or_default());
        let url = format!("data:{media};base64,{bytes}");
        return Some(match media.split_once('/') {
            Some(("image", _)) => image(&url),
            Some(("audio", format)) => {
                json!({ "type": "input_audio", "input_audio": { "data": bytes, "format": audio(format) } })
            }
            _ => json!({ "type": "file", "file": { "file_data": url } }),
        });
    }
    let file = part.get("fileData")?;
    let uri = file["fileUri"].as_str().unwrap_or_default();
    Some(match media(file).is_empty() || media(file).starts_with("image/") {
        true => image(uri),
        false => json!({ "type": "file", "file": { "file_data": uri } }),
    })
}

/// OpenAI knows two.
fn audio(format: &str) -> &str {
    match format {
        "mpeg" | "mp3" => "mp3",
        "x-wav" | "wave" => "wav",
        other => other,
    }
}

fn generation(config: Value, out: &mut Map<String, Value>) {
    let Value::Object(fields) = config else { return };
    let schema = ["responseJsonSchema", "_responseJsonSchema", "responseSchema"]
        .iter()
        .find_map(|name| fields.get(*name));
    let own = |schema: &Value| {
        if fields.contains_key("responseSchema") { json_schema(schema) } else { schema.clone() }
    };
    let format = match (schema.map(own), fields.get("responseMimeType").and_then(Value::as_str)) {
        (Some(schema), _) => Some(json!({ "type": "json_schema", "json_schema": { "schema": schema } })),
        (None, Some("application/json")) => Some(json!({ "type": "json_object" })),
        _ => None,
    };
    out.extend(format.map(|format| ("response_format".to_owned(), format)));
    for (name, value) in fields {
        let (name, value) = match name.as_str() {
            "maxOutputTokens" => ("max_tokens", value),
            "topP" => ("top_p", value),
            "topK" => ("top_k", value),
            "stopSequences" => ("stop", value),
            "candidateCount" => ("n", value),
            "presencePenalty" => ("presence_penalty", value),
            "frequencyPenalty" => ("frequency_penalty", value),
            "responseLogprobs" => ("logprobs", value),
            "logprobs" => ("top_logprobs", value),
            "responseMimeType" | "responseSchema" | "responseJsonSchema" | "_responseJsonSchema" => continue,
            other => (other, value),
        };
        out.insert(name.to_owned(), value);
    }
}

fn tools(tool: &Value) -> Vec<Value> {
    let Some(functions) = tool.get("functionDeclarations") else { return vec![tool.clone()] };
    let function = |declared: &Value| {
        let mut function = Map::new();
        for (theirs, ours) in [
            ("name", "name"),
            ("description", "description"),
            ("parameters", "parameters"),
            ("parametersJsonSchema", "parameters"),
        ] {
            if let Some(value) = declared.get(theirs) {
                let value = if theirs == "parameters" { json_schema(value) } else { value.clone() };
                function.insert(ours.to_owned(), value);
            }
        }
        json!({ "type": "function", "function": function })
    };
    list(functions).iter().map(function).collect()
}

/// A schema of Gemini's own kind as JSON Schema: types in lower case, and `null` among them.
fn json_schema(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let is_nullable = fields.get("nullable") == Some(&Value::Bool(true));
    let convert = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value) {
            ("type", Value::String(kind)) if is_nullable => json!([kind.to_ascii_lowercase(), "null"]),
            ("type", Value::String(kind)) => kind.to_ascii_lowercase().into(),
            ("items", inner) => json_schema(inner),
            ("anyOf", Value::Array(any)) => any.iter().map(json_schema).collect(),
            ("properties", Value::Object(properties)) => {
                let converted = properties.iter().map(|(name, inner)| (name.clone(), json_schema(inner)));
                Value::Object(converted.collect())
            }
            (_, other) => other.clone(),
        };
        (name.clone(), value)
    };
    Value::Object(fields.iter().filter(|(name, _)| *name != "nullable").map(convert).collect())
}

fn tool_choice(config: &Value) -> Option<Value> {
    let names = list(&config["allowedFunctionNames"]);
    Some(match (config["mode"].as_str()?, names) {
        ("ANY", [one]) => json!({ "type": "function", "function": { "name": one } }),
        ("ANY", _) => "required".into(),
        ("NONE", _) => "none".into(),
        _ => "auto".into(),
    })
}

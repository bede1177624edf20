//! A request of Anthropic's in OpenAI's shape: the way back from any translation, written from the documentation of
//! both and not from the translation.

use serde_json::{Map, Value, json};

use super::request::{list, objects};
use crate::mock::view::{content_of, image, text_part};

/// Takes what is there: what is wrong in it was said elsewhere.
pub(in crate::mock) fn openai(body: &Value) -> Value {
    let mut out = Map::new();
    let Value::Object(fields) = body else { return body.clone() };
    let mut messages = Vec::new();
    if let Some(system) = fields.get("system") {
        messages.push(json!({ "role": "system", "content": content(system) }));
    }
    for (name, value) in fields {
        let (name, value) = match name.as_str() {
            "messages" => {
                objects(value).for_each(|message| turn(message, &mut messages));
                continue;
            }
            "system" => continue,
            "stop_sequences" => ("stop", value.clone()),
            "metadata" => ("user", value["user_id"].clone()),
            "tools" => ("tools", objects(value).map(tool).collect()),
            "tool_choice" => {
                if value["disable_parallel_tool_use"] == true {
                    out.insert("parallel_tool_calls".to_owned(), false.into());
                }
                ("tool_choice", tool_choice(value))
            }
            "output_config" => {
                if let Some(effort) = value.get("effort") {
                    out.insert("reasoning_effort".to_owned(), effort.clone());
                }
                match value.pointer("/format/schema") {
                    Some(schema) => ("response_format", response_format(schema)),
                    None => continue,
                }
            }
            "stream" if value == false => continue,
            other => (other, value.clone()),
        };
        if !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    }
    out.insert("messages".to_owned(), messages.into());
    out.into()
}

fn turn(message: &Map<String, Value>, messages: &mut Vec<Value>) {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    let whole = message.get("content").unwrap_or(&Value::Null);
    if whole.is_string() {
        return messages.push(json!({ "role": role, "content": whole }));
    }
    let blocks = list(whole);
    for result in blocks.iter().filter(|block| block["type"] == "tool_result") {
        let content = result.get("content").map_or_else(|| "".into(), content);
        messages.push(json!({ "role": "tool", "tool_call_id": result["tool_use_id"], "content": content }));
    }
    let calls: Vec<_> = blocks.iter().filter(|block| block["type"] == "tool_use").map(call).collect();
    let thoughts: String = blocks.iter().filter_map(|block| block["thinking"].as_str()).collect();
    let parts: Vec<_> = blocks.iter().filter_map(part).collect();
    if parts.is_empty() && calls.is_empty() && thoughts.is_empty() {
        return;
    }
    let mut out = Map::new();
    out.insert("role".to_owned(), role.into());
    let content = if parts.is_empty() { Value::Null } else { content_of(parts) };
    out.insert("content".to_owned(), content);
    if !calls.is_empty() {
        out.insert("tool_calls".to_owned(), calls.into());
    }
    if !thoughts.is_empty() {
        out.insert("reasoning_content".to_owned(), thoughts.into());
    }
    messages.push(out.into());
}

fn content(value: &Value) -> Value {
    match value {
        Value::Array(blocks) => content_of(blocks.iter().filter_map(part).collect()),
        other => other.clone(),
    }
}

fn part(block: &Value) -> Option<Value> {
    let source = &block["source"];
    let data = || {
        let media = source["media_type"].as_str().unwrap_or_default();
        format!("data:{media};base64,{}", source["data"].as_str().unwrap_or_default())
    };
    match (block["type"].as_str()?, source["type"].as_str()) {
        ("text", _) => Some(text_part(&block["text"])),
        ("image", Some("base64")) => Some(image(&data())),
        ("image", Some("url")) => Some(image(source["url"].as_str().unwrap_or_default())),
        ("image" | "document", Some("file")) => {
            Some(json!({ "type": "file", "file": { "file_id": source["file_id"] } }))
        }
        ("document", Some(kind)) => {
            let data = match kind {
                "base64" => data().into(),
                "url" => source["url"].clone(),
                _ => source["data"].clone(),
            };
            let mut file = json!({ "file_data": data });
            if let (Some(title), Value::Object(file)) = (block.get("title"), &mut file) {
                file.insert("filename".to_owned(), title.clone());
            }
            Some(json!({ "type": "file", "file": file }))
        }
        _ => None,
    }
}

fn call(block: &Value) -> Value {
    let function = json!({ "name": block["name"], "arguments": block["input"].to_string() });
    json!({ "id": block["id"], "type": "function", "function": function })
}

fn tool(tool: &Map<String, Value>) -> Value {
    if tool.get("type").is_some_and(|kind| kind.is_string() && kind != "custom") {
        return tool.clone().into();
    }
    let mut function = Map::new();
    let names = [
        ("name", "name"),
        ("description", "description"),
        ("input_schema", "parameters"),
        ("strict", "strict"),
    ];
    for (theirs, ours) in names {
        if let Some(value) = tool.get(theirs) {
            function.insert(ours.to_owned(), value.clone());
        }
    }
    json!({ "type": "function", "function": function })
}

fn tool_choice(choice: &Value) -> Value {
    match choice["type"].as_str() {
        Some("any") => "required".into(),
        Some("tool") => json!({ "type": "function", "function": { "name": choice["name"] } }),
        Some(other) => other.into(),
        None => Value::Null,
    }
}

fn response_format(schema: &Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "schema": schema } })
}

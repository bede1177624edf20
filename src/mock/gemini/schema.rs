//! Gemini's own kind of schema, a part of OpenAPI's, where it is no JSON Schema.

use serde_json::Value;

use super::request::list;
use crate::mock::shape::snake;

/// Checks a schema whose fields are known to be of the right kinds.
pub(super) fn check(schema: &Value, place: &str, wrong: &mut Vec<String>) {
    let kind = schema["type"].as_str();
    let any = list(&schema["anyOf"]);
    if kind.is_none() && any.is_empty() {
        wrong.push(format!("{place}.type: must be specified"));
    }
    let properties = schema["properties"].as_object();
    if kind == Some("OBJECT") && properties.is_some_and(serde_json::Map::is_empty) {
        wrong.push(format!("{place}.properties: should be non-empty for OBJECT type"));
    }
    if kind == Some("ARRAY") && schema.get("items").is_none() {
        wrong.push(format!("{place}.items: missing field."));
    }
    let only = [("properties", "OBJECT"), ("required", "OBJECT"), ("items", "ARRAY")];
    for (name, owner) in
        only.iter().filter(|(name, owner)| schema.get(*name).is_some() && kind != Some(*owner))
    {
        wrong.push(format!("{place}.{}: only allowed for {owner} type", snake(name)));
    }
    // Of texts alone; numbers would have to be written as such.
    if schema.get("enum").is_some() && kind != Some("STRING") {
        wrong.push(format!("{place}.enum: only allowed for STRING type"));
    }
    if list(&schema["enum"]).iter().any(|word| word == "") {
        wrong.push(format!("{place}.enum: cannot be empty"));
    }
    let formats: &[&str] = match kind {
        Some("NUMBER") => &["float", "double"],
        Some("INTEGER") => &["int32", "int64"],
        _ => &["enum", "date-time"],
    };
    if schema["format"].as_str().is_some_and(|format| !format.is_empty() && !formats.contains(&format)) {
        let kind = kind.unwrap_or_default();
        wrong.push(format!("{place}.format: only {} are supported for {kind} type", formats.join(" and ")));
    }
    for (at, name) in list(&schema["required"]).iter().enumerate() {
        if !properties.is_some_and(|known| name.as_str().is_some_and(|name| known.contains_key(name))) {
            wrong.push(format!("{place}.required[{at}]: property is not defined"));
        }
    }
    for (name, property) in properties.into_iter().flatten() {
        check(property, &format!("{place}.properties[{name}]"), wrong);
    }
    for (at, inner) in any.iter().enumerate() {
        check(inner, &format!("{place}.any_of[{at}]"), wrong);
    }
    if let Some(items) = schema.get("items") {
        check(items, &format!("{place}.items"), wrong);
    }
}

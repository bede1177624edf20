//! Embeddings: OpenAI's shape as `:batchEmbedContents`, one request for each input (ai.google.dev/api/embeddings).
//!
//! Tokens as input are refused: Gemini's are others. Where Gemini counts no tokens, the answer has no `usage`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::NAME;
use super::{resource, write};
use crate::protocol::json::quote;
use crate::protocol::read::{At, Object, items, string};
use crate::protocol::translate::{Inexpressible, Malformed, Translated};

/// Gemini takes at most this many inputs in one request (its quickstart for embeddings, and LiteLLM's and Vercel's clients).
pub const MAX_INPUTS: usize = 100;

/// What the answer's translation has to know of its request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    inputs: usize,
    model: String,
    /// Whether vectors are wanted as base64 of their little-endian floats.
    base64: bool,
}

/// Path below the base URL.
pub fn embed_path(model: &str) -> String {
    format!("/{}:batchEmbedContents", resource(model))
}

/// A request for embeddings in OpenAI's shape, in the words of this protocol.
pub fn request(body: &str, model: &str) -> Result<Translated<Context>, Inexpressible> {
    const KNOWN: [&str; 8] =
        ["model", "input", "dimensions", "encoding_format", "taskType", "task_type", "title", "input_type"];
    let at = &At::Root;
    let root = Object::parse(body, at)?;
    let mut dropped = Vec::new();
    root.drop_unknown(&KNOWN, at, &mut dropped);
    if root.get("input_type").is_some() {
        dropped.push(Cow::Borrowed("input_type"));
    }
    let base64 = match root.text("encoding_format", at)?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(at.member("encoding_format").wrong("must be float or base64")),
    };
    // What each of the requests has beside its text.
    let mut rest = String::new();
    if root.integer("dimensions", at)?.is_some() {
        rest.push_str(",\"outputDimensionality\":");
        rest.push_str(root.raw("dimensions"));
    }
    for (name, snake) in [("taskType", "task_type"), ("title", "title")] {
        if let Some(raw) = root.get(name).or_else(|| root.get(snake)) {
            rest.push_str(&format!(",\"{name}\":{}", string(raw, &at.member(name))?));
        }
    }
    let inputs = inputs(&root)?;
    let resource = match model.split_once('/') {
        Some(("models" | "tunedModels", _)) => quote(model),
        _ => quote(&format!("models/{model}")),
    };
    let mut out = String::with_capacity(body.len() + inputs.len() * (resource.len() + rest.len() + 64));
    out.push_str("{\"requests\":[");
    for input in &inputs {
        write::comma(&mut out);
        out.push_str("{\"model\":");
        out.push_str(&resource);
        out.push_str(",\"content\":{\"parts\":[{\"text\":");
        out.push_str(input);
        out.push_str("}]}");
        out.push_str(&rest);
        out.push('}');
    }
    out.push_str("]}");
    let context = Context { inputs: inputs.len(), model: model.to_owned(), base64 };
    Ok(Translated { body: out, dropped, context })
}

fn inputs<'a>(root: &Object<'a>) -> Result<Vec<&'a str>, Inexpressible> {
    let at = At::Member(&At::Root, "input");
    let raw = root.raw("input");
    if raw.starts_with('"') {
        return Ok(vec![raw]);
    }
    let list = items(raw, "a string or an array of strings", &at)?;
    if list.is_empty() {
        return Err(at.wrong("must have at least one input"));
    }
    let text = |(number, raw): (usize, &&'a str)| {
        if raw.starts_with(|first: char| first.is_ascii_digit() || first == '[') {
            return Err(at.cannot(NAME, "tokens as input; Gemini's are not OpenAI's"));
        }
        string(raw, &at.item(number))
    };
    list.iter().enumerate().map(text).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: Vec<Embedding<'a>>,
    usage_metadata: Option<super::usage::Usage>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

/// An answer as OpenAI's list of embeddings. Numbers keep their text.
pub fn answer(body: &str, context: &Context) -> Result<String, Malformed> {
    let none = Malformed("an answer that is no list of embeddings");
    if !body.trim_start().starts_with('{') {
        return Err(none);
    }
    let answer: Answer<'_> = serde_json::from_str(body).map_err(|_| none)?;
    if answer.embeddings.len() != context.inputs {
        return Err(Malformed("an answer that has not one vector for each input"));
    }
    let mut out = String::with_capacity(body.len() + 64 * context.inputs);
    out.push_str("{\"object\":\"list\",\"data\":[");
    for (index, embedding) in answer.embeddings.iter().enumerate() {
        write::comma(&mut out);
        out.push_str(&format!("{{\"object\":\"embedding\",\"index\":{index},\"embedding\":"));
        let raw = embedding.values.get();
        let values: Vec<f32> = serde_json::from_str(raw).map_err(|_| Malformed("a vector that is none"))?;
        if context.base64 {
            out.push('"');
            encode(&values, &mut out);
            out.push('"');
        } else {
            write::compact(&mut out, raw);
        }
        out.push('}');
    }
    out.push(']');
    write::text_member(&mut out, "model", &context.model);
    if let Some(usage) = answer.usage_metadata.and_then(super::usage::Usage::embedding) {
        write::member(&mut out, "usage", &usage);
    }
    out.push('}');
    Ok(out)
}

/// Base64 (RFC 4648 §4) of the little-endian floats.
fn encode(values: &[f32], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    out.reserve(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let of = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = of(0) << 16 | of(1) << 8 | of(2);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            // Of n bytes come n + 1 digits; the rest is padding.
            out.push(if place <= group.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_little_endian_floats() {
        let encoded = |values: &[f32]| {
            let mut out = String::new();
            encode(values, &mut out);
            out
        };
        assert_eq!(encoded(&[]), "");
        assert_eq!(encoded(&[1.0]), "AACAPw==");
        assert_eq!(encoded(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(encoded(&[0.0, 0.5, 1.0]), "AAAAAAAAAD8AAIA/");
    }
}

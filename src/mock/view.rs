//! Requests of every protocol in OpenAI's shape, for matching, and for tests of what a translation has made of one.

use serde_json::{Value, json};

use super::{
    anthropic, gemini,
    route::{Endpoint, Protocol, Route},
};

/// A request's body in OpenAI's shape, whatever protocol the path belongs to; a body of OpenAI's comes back as it is.
/// The inverse of a translation, as far as one can be undone: a content of one text is a string, arguments and tool
/// results are JSON text of no certain order of keys, the system prompt is the first message, and what OpenAI has no
/// words for keeps its own name.
pub fn as_openai(path: &str, body: &Value) -> Value {
    let route = Route::of("POST", path);
    match (route.protocol, route.endpoint) {
        (Protocol::Anthropic, Endpoint::Chat) => anthropic::as_openai(body),
        (Protocol::Gemini, Endpoint::Chat | Endpoint::StreamedChat { .. }) => gemini::as_openai(&route, body),
        (Protocol::Gemini, Endpoint::Embedding | Endpoint::Embeddings) => {
            gemini::embed_as_openai(&route, body)
        }
        _ => with_model(&route, body),
    }
}

/// Azure names the deployment in the path, and needs no model in the body.
fn with_model(route: &Route<'_>, body: &Value) -> Value {
    let mut body = body.clone();
    if let (Some(model), Value::Object(fields)) = (&route.model, &mut body) {
        fields.entry("model").or_insert_with(|| model.as_ref().into());
    }
    body
}

/// The content of parts: one text alone is a string, as most write it.
pub(super) fn content_of(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [one] if one["type"] == "text" => one["text"].take(),
        _ => parts.into(),
    }
}

pub(super) fn text_part(text: &Value) -> Value {
    json!({ "type": "text", "text": text })
}

pub(super) fn image(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

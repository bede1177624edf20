//! The endpoints that there are, and what each of them answers: what a test has said, or by default.

use std::collections::HashMap;

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    answer::{Answer, JSON, Rendered},
    anthropic,
    begun::Begun,
    chat::Chat,
    embeddings,
    gate::prompt,
    gemini, openai,
    refusal::Refusal,
    request::{ChatAsk, Request},
    route::{Endpoint, Protocol, Route},
    shapes::MockAnswer,
    text,
};

/// Answers kept rendered; when there are more, all are forgotten, which costs less than knowing the oldest.
const RENDERED: usize = 1024;
/// Larger ones are not kept.
const RENDERED_BYTES: usize = 64 * 1024;
/// Default texts when nothing is recorded, so that each is rendered once.
const FAST_TEXTS: u64 = 64;

#[derive(Debug)]
pub(super) struct Endpoints {
    seed: u64,
    /// Whether one of a few texts will do.
    is_fast: bool,
    rendered: Mutex<HashMap<Key, Rendered>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    seed: u64,
    stream: bool,
    choices: u32,
    model: Box<str>,
}

/// A request with where it goes.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) route: &'a Route<'a>,
    /// The body in OpenAI's shape, where it had another.
    pub(super) view: Option<&'a Value>,
}

/// Reads what is in a protocol other than OpenAI's, strictly. `None` where there is nothing to read.
pub(super) fn read(request: &Request<'_>, route: &Route<'_>) -> Option<Result<Value, Refusal>> {
    if route.protocol == Protocol::OpenAi
        || matches!(route.endpoint, Endpoint::Models | Endpoint::Batches | Endpoint::Unknown)
    {
        return None;
    }
    let body = serde_json::from_slice::<Value>(request.body);
    Some(body.map_err(|error| Refusal::Unreadable(error.to_string())).and_then(|body| match route.protocol {
        Protocol::Gemini => gemini::read(route, &body),
        _ => {
            let version = request.header("anthropic-version");
            anthropic::read(&body, version.as_deref(), request.header("anthropic-beta").is_some())
        }
    }))
}

impl Endpoints {
    pub(super) fn new(seed: u64, is_fast: bool) -> Self {
        Self { seed, is_fast, rendered: Mutex::default() }
    }

    /// A test's own answer.
    pub(super) fn said(&self, said: &MockAnswer, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let mut answer = match (&said.raw, &said.json) {
            (Some(raw), _) => {
                let content_type = raw.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
                let content_type = content_type.try_into().unwrap_or(JSON);
                Answer::new(content_type, Rendered::whole(raw.body.clone(), 0))
            }
            (None, Some(json)) => Answer::json(StatusCode::OK, json.to_string()),
            (None, None) => self.chat(asked, Some(said))?,
        };
        answer.status = said.status.map_or(answer.status, |status| status.0);
        answer.headers.0.extend(said.headers.0.iter().cloned());
        Ok(answer)
    }

    pub(super) fn by_default(&self, asked: &Asked<'_>) -> Result<Answer, Refusal> {
        let Asked { request, route, view } = asked;
        let none = Value::Null;
        match (route.endpoint, route.protocol) {
            (Endpoint::Chat | Endpoint::StreamedChat { .. }, _) => self.chat(asked, None),
            (Endpoint::Embedding, _) => embeddings::native(view.unwrap_or(&none), self.seed, false),
            (_, Protocol::Gemini) if route.endpoint == Endpoint::Embeddings => {
                embeddings::native(view.unwrap_or(&none), self.seed, true)
            }
            (Endpoint::Embeddings, _) => Ok(embeddings::answer(request.body, self.seed)),
            (Endpoint::Models, Protocol::Gemini) => Ok(gemini::models()),
            (Endpoint::Models, _) if request.header("anthropic-version").is_some() => Ok(anthropic::models()),
            (Endpoint::Models, _) => Ok(openai::models()),
            // Batches are answered where they are kept.
            (Endpoint::Batches | Endpoint::Unknown, _) => {
                let path = request.path.split_once('?').map_or(request.path, |(path, _)| path);
                Err(Refusal::NoSuchPath(format!("{} {path}", request.method)))
            }
        }
    }

    /// A chat's answer in the protocol that it was asked in.
    fn chat(&self, asked: &Asked<'_>, said: Option<&MockAnswer>) -> Result<Answer, Refusal> {
        let (Some(view), true) = (asked.view, asked.route.is_chat()) else {
            return self.openai_chat(asked, said);
        };
        let digest = prompt(view);
        let choices = view["n"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1).clamp(1, 8);
        let begun = Begun::of(view);
        let chat = Chat {
            model: view["model"].as_str().unwrap_or("mock"),
            choices: if asked.route.protocol == Protocol::Gemini { choices } else { 1 },
            seed: self.seed_of(digest.hash),
            said,
            begun: begun.as_ref(),
        };
        let chat = self.going_on(chat);
        Ok(match (asked.route.protocol, asked.route.endpoint) {
            (Protocol::Gemini, Endpoint::StreamedChat { events }) => gemini::answer(
                &chat,
                digest.tokens(),
                if events { gemini::As::Events } else { gemini::As::Array },
            ),
            (Protocol::Gemini, _) => gemini::answer(&chat, digest.tokens(), gemini::As::Whole),
            _ => anthropic::answer(&chat, digest.tokens(), view["stream"] == true),
        })
    }

    fn openai_chat(&self, asked: &Asked<'_>, said: Option<&MockAnswer>) -> Result<Answer, Refusal> {
        let request = asked.request;
        let body = if request.body.is_empty() { b"{}" } else { request.body };
        let ask: ChatAsk<'_> =
            serde_json::from_slice(body).map_err(|error| Refusal::Unreadable(error.to_string()))?;
        let model = ask.model().or(asked.route.model.as_deref()).unwrap_or("mock");
        let seed = self.seed_of(ask.prompt().hash);
        Ok(Begun::of_body(body, |begun| {
            let chat = self.going_on(Chat { model, choices: ask.choices(), seed, said, begun });
            let render = || {
                if ask.streams() { chat.stream() } else { chat.unary() }
            };
            let rendered = match said {
                None if begun.is_none() => {
                    let (stream, choices) = (ask.streams(), chat.choices);
                    self.rendered(Key { seed, stream, choices, model: model.into() }, render)
                }
                _ => render(),
            };
            openai::finish(rendered, &ask, &chat)
        }))
    }

    /// A default text follows from the prompt. One that was begun follows from that of its beginning, if it was the upstream's own.
    fn going_on<'a>(&self, chat: Chat<'a>) -> Chat<'a> {
        let Some(begun) = chat.begun.filter(|_| chat.said.is_none()) else { return chat };
        let first = Chat { seed: self.seed_of(begun.prompt.hash), ..chat };
        let is_own = begun.rest(&first.sentence(0)).is_some();
        if is_own { first } else { Chat { begun: None, ..chat } }
    }

    fn seed_of(&self, hash: u64) -> u64 {
        text::mix(self.seed, if self.is_fast { hash % FAST_TEXTS } else { hash })
    }

    fn rendered(&self, key: Key, render: impl FnOnce() -> Rendered) -> Rendered {
        let mut kept = self.rendered.lock();
        if let Some(rendered) = kept.get(&key) {
            return rendered.clone();
        }
        let rendered = render();
        if rendered.bytes.len() > RENDERED_BYTES {
            return rendered;
        }
        if kept.len() >= RENDERED {
            kept.clear();
        }
        kept.insert(key, rendered.clone());
        rendered
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::mock::{request::HeadOf, view::as_openai};

    /// Words that mean something somewhere, as names and as values.
    const WORDS: [&str; 40] = [
        "model",
        "messages",
        "max_tokens",
        "role",
        "user",
        "assistant",
        "system",
        "content",
        "type",
        "text",
        "image",
        "source",
        "base64",
        "data",
        "media_type",
        "tool_use",
        "tool_result",
        "tool_use_id",
        "id",
        "name",
        "input",
        "tools",
        "input_schema",
        "object",
        "thinking",
        "contents",
        "parts",
        "functionCall",
        "function_response",
        "response",
        "args",
        "generationConfig",
        "responseSchema",
        "properties",
        "required",
        "anyOf",
        "requests",
        "toolConfig",
        "ANY",
        "",
    ];

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            select(&WORDS[..]).prop_map(Value::from),
        ];
        leaf.prop_recursive(7, 96, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                vec((select(&WORDS[..]).prop_map(str::to_owned), inner), 0..7)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_refused_without_a_panic(body in anything()) {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("anthropic-version"),
                http::HeaderValue::from_static("2023-06-01"),
            )]);
            let bytes = body.to_string();
            for path in ["/messages", "/models/m:generateContent", "/models/m:embedContent", "/models/m:batchEmbedContents"] {
                let request = Request {
                    method: "POST",
                    path,
                    head: HeadOf::H2(&headers, None),
                    body: bytes.as_bytes(),
                    connection: 1,
                    stream: None,
                };
                let route = Route::of("POST", path);
                if let Some(Err(refusal)) = read(&request, &route) {
                    let answer = route.protocol.refuse(&refusal, 1);
                    prop_assert_eq!(answer.status, StatusCode::BAD_REQUEST);
                }
                as_openai(path, &body);
            }
        }
    }

    #[test]
    fn json_of_200_levels_is_refused() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let body = format!(r#"{{"contents":{deep}}}"#);
        let headers = HeaderMap::new();
        let route = Route::of("POST", "/models/m:generateContent");
        let request = Request {
            method: "POST",
            path: "/models/m:generateContent",
            head: HeadOf::H2(&headers, None),
            body: body.as_bytes(),
            connection: 1,
            stream: None,
        };
        assert!(matches!(read(&request, &route), Some(Err(Refusal::Unreadable(_)))));
    }
}

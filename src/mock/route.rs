//! Which protocol and endpoint a path belongs to.

use std::borrow::Cow;

use http::StatusCode;

use super::{
    answer::Answer,
    anthropic, gemini,
    limit::Levels,
    openai,
    refusal::Refusal,
    request::{Request, endpoint},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    OpenAi,
    Anthropic,
    Gemini,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    /// Gemini's, whose method says that it streams: events, or else one array.
    StreamedChat {
        events: bool,
    },
    Embedding,
    Embeddings,
    Models,
    /// Files and batches.
    Batches,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Route<'a> {
    pub(super) protocol: Protocol,
    pub(super) endpoint: Endpoint,
    /// The model that the path names: Gemini's, and Azure's deployment.
    pub(super) model: Option<Cow<'a, str>>,
}

impl<'a> Route<'a> {
    pub(super) fn of(method: &str, path: &'a str) -> Self {
        let route = |protocol, endpoint| Self { protocol, endpoint, model: None };
        let is_post = method == "POST";
        match endpoint(path) {
            "/chat/completions" if is_post => return route(Protocol::OpenAi, Endpoint::Chat),
            "/embeddings" if is_post => return route(Protocol::OpenAi, Endpoint::Embeddings),
            "/models" if method == "GET" => return route(Protocol::OpenAi, Endpoint::Models),
            path if is_below(path, "/files") || is_below(path, "/batches") => {
                return route(Protocol::OpenAi, Endpoint::Batches);
            }
            path if is_below(path, "/messages/batches") => {
                return route(Protocol::Anthropic, Endpoint::Batches);
            }
            "/messages" if is_post => return route(Protocol::Anthropic, Endpoint::Chat),
            "/messages" => return route(Protocol::Anthropic, Endpoint::Unknown),
            _ => {}
        }
        if let Some(route) = Self::azure(is_post, path).or_else(|| Self::gemini(method, path)) {
            return route;
        }
        route(Protocol::OpenAi, Endpoint::Unknown)
    }

    /// `/openai/deployments/{name}/chat/completions?api-version=…`, and `/openai/v1/…`.
    fn azure(is_post: bool, path: &'a str) -> Option<Self> {
        let rest = endpoint(path).strip_prefix("/openai")?;
        let Some(deployed) = rest.strip_prefix("/deployments/") else {
            return Some(Self::of(if is_post { "POST" } else { "GET" }, rest))
                .filter(|_| rest.starts_with("/v1/"));
        };
        let (model, method) = deployed.split_once('/')?;
        let endpoint = match method {
            // Without its version there is no such resource.
            _ if !is_post || query(path, "api-version").is_none() => Endpoint::Unknown,
            "chat/completions" => Endpoint::Chat,
            "embeddings" => Endpoint::Embeddings,
            _ => Endpoint::Unknown,
        };
        Some(Self { protocol: Protocol::OpenAi, endpoint, model: Some(decoded(model)) })
    }

    /// `/v1beta/models/{model}:{method}`.
    fn gemini(method: &str, path: &'a str) -> Option<Self> {
        let bare = path.split_once('?').map_or(path, |(path, _)| path);
        let beta = bare.strip_prefix("/v1beta").or_else(|| bare.strip_prefix("/v1alpha"));
        let below = beta.unwrap_or_else(|| endpoint(path));
        let unknown = |model| Self { protocol: Protocol::Gemini, endpoint: Endpoint::Unknown, model };
        if beta.is_some() && below == "/models" && method == "GET" {
            return Some(Self { endpoint: Endpoint::Models, ..unknown(None) });
        }
        let name = below.strip_prefix("/models/").or_else(|| below.strip_prefix("/tunedModels/"));
        let Some((model, verb)) = name.and_then(|name| name.rsplit_once(':')) else {
            return beta.map(|_| unknown(None));
        };
        let endpoint = match verb {
            _ if method != "POST" => Endpoint::Unknown,
            "generateContent" => Endpoint::Chat,
            "streamGenerateContent" => {
                Endpoint::StreamedChat { events: query(path, "alt").as_deref() == Some("sse") }
            }
            "embedContent" => Endpoint::Embedding,
            "batchEmbedContents" => Endpoint::Embeddings,
            _ => Endpoint::Unknown,
        };
        Some(Self { endpoint, ..unknown(Some(decoded(model))) })
    }

    pub(super) fn is_chat(&self) -> bool {
        matches!(self.endpoint, Endpoint::Chat | Endpoint::StreamedChat { .. })
    }
}

impl Protocol {
    /// The key that a request comes with, wherever this protocol has it.
    pub(super) fn key<'a>(self, request: &Request<'a>) -> Option<Cow<'a, str>> {
        let bearer = || {
            let value = request.header("authorization")?;
            value.strip_prefix("Bearer ").map(|key| Cow::Owned(key.trim().to_owned()))
        };
        let own = match self {
            Self::OpenAi => request.header("api-key"),
            Self::Anthropic => request.header("x-api-key"),
            Self::Gemini => request.header("x-goog-api-key").or_else(|| query(request.path, "key")),
        };
        own.or_else(bearer).filter(|key| !key.is_empty())
    }

    /// The answer to a request that is turned away, number `request` at its upstream.
    pub(super) fn refuse(self, refusal: &Refusal, request: u64) -> Answer {
        let mut answer = match self {
            Self::OpenAi => openai::refuse(refusal),
            Self::Anthropic => anthropic::refuse(refusal, request),
            Self::Gemini => gemini::refuse(refusal),
        };
        if let Refusal::Limited { fields, .. } = refusal {
            answer.headers.0.clone_from(fields);
        }
        answer
    }

    /// How an answer tells of the limits; the time is there when it was turned away.
    pub(super) fn limit_fields(
        self,
        levels: &Levels,
        wait: Option<std::time::Duration>,
    ) -> Vec<(http::HeaderName, http::HeaderValue)> {
        match self {
            Self::OpenAi => levels.as_openai(wait),
            Self::Anthropic => levels.as_anthropic(wait, std::time::SystemTime::now()),
            // It has none: a body says when to come back.
            Self::Gemini => Vec::new(),
        }
    }

    /// An error inside a stream, from what a test gave: whichever provider's shape it has, and if none, the usual.
    pub(super) fn error_event(self, body: Option<&serde_json::Value>) -> String {
        match self {
            Self::OpenAi => openai::error_event(body),
            Self::Anthropic => anthropic::error_event(body),
            Self::Gemini => gemini::error_event(body),
        }
    }
}

/// Whether a path is this one, or leads further.
fn is_below(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The status that an error in a body stands for, and what it says; for those who word it their own way.
pub(super) fn meaning(body: &serde_json::Value) -> (StatusCode, String) {
    let error = body.get("error").unwrap_or(body);
    let text = |name: &str| error.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let number = ["status", "code"].iter().find_map(|name| error.get(*name)?.as_u64());
    let told = number.and_then(|n| StatusCode::from_u16(u16::try_from(n).ok()?).ok());
    let named = format!("{} {} {}", text("type"), text("code"), text("status")).to_ascii_lowercase();
    let implied = [
        ("rate_limit", 429),
        ("quota", 429),
        ("resource_exhausted", 429),
        ("authentication", 401),
        ("api_key", 401),
        ("permission", 403),
        ("not_found", 404),
        ("overloaded", 503),
        ("unavailable", 503),
        ("invalid", 400),
        ("context_length", 400),
        ("content_filter", 400),
    ];
    let status = implied.iter().find(|(word, _)| named.contains(word)).map_or(500, |(_, status)| *status);
    let status = told.unwrap_or(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    let message = error.as_str().unwrap_or_else(|| text("message"));
    (status, message.to_owned())
}

/// A query's value.
pub(super) fn query<'a>(path: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, query) = path.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value)).filter(|value| !value.is_empty())
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_belongs_to_a_protocol() {
        use {Endpoint::*, Protocol::*};
        let table = [
            ("POST", "/v1/chat/completions", OpenAi, Chat, None),
            ("POST", "/openai/v1/chat/completions", OpenAi, Chat, None),
            ("POST", "/openai/deployments/d%20x/chat/completions?api-version=1", OpenAi, Chat, Some("d x")),
            ("POST", "/openai/deployments/d/chat/completions", OpenAi, Unknown, Some("d")),
            ("POST", "/openai/deployments/d/embeddings?api-version=1", OpenAi, Embeddings, Some("d")),
            ("GET", "/models", OpenAi, Models, None),
            ("POST", "/v1/messages?beta=true", Anthropic, Chat, None),
            ("POST", "/messages", Anthropic, Chat, None),
            ("GET", "/messages", Anthropic, Unknown, None),
            ("POST", "/v1beta/models/g:generateContent", Gemini, Chat, Some("g")),
            ("POST", "/models/g:generateContent?key=k", Gemini, Chat, Some("g")),
            (
                "POST",
                "/v1beta/models/g:streamGenerateContent?alt=sse",
                Gemini,
                StreamedChat { events: true },
                Some("g"),
            ),
            ("POST", "/v1/models/g:streamGenerateContent", Gemini, StreamedChat { events: false }, Some("g")),
            ("POST", "/v1beta/models/g:embedContent", Gemini, Embedding, Some("g")),
            ("POST", "/v1beta/models/g:batchEmbedContents", Gemini, Embeddings, Some("g")),
            ("POST", "/v1beta/models/g:dance", Gemini, Unknown, Some("g")),
            ("GET", "/v1beta/models", Gemini, Models, None),
            ("POST", "/v1/nowhere", OpenAi, Unknown, None),
        ];
        for (method, path, protocol, endpoint, model) in table {
            let route = Route::of(method, path);
            assert_eq!(
                (route.protocol, route.endpoint, route.model.as_deref()),
                (protocol, endpoint, model),
                "{path}"
            );
        }
    }

    #[test]
    fn an_error_of_any_shape_means_a_status() {
        let of = |text: &str| meaning(&serde_json::from_str(text).unwrap()).0.as_u16();
        assert_eq!(of(r#"{"error":{"type":"server_error","message":"x"}}"#), 500);
        assert_eq!(of(r#"{"error":{"type":"rate_limit_error"}}"#), 429);
        assert_eq!(of(r#"{"type":"error","error":{"type":"overloaded_error"}}"#), 503);
        assert_eq!(of(r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#), 503);
        assert_eq!(of(r#"{"error":{"code":"invalid_api_key","type":"invalid_request_error"}}"#), 401);
    }
}

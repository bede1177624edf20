//! Gemini's `generateContent` and embeddings: what is asked, read strictly, and what is answered, rendered as text.

mod answer;
mod embedding;
mod request;
mod schema;
mod tables;
mod turns;
mod view;

use http::StatusCode;
use serde_json::{Value, json};

pub(super) use self::{
    answer::{As, answer, embedded},
    view::{embed_as_openai, openai as as_openai},
};
use super::{
    answer::Answer,
    refusal::Refusal,
    route::{Endpoint, Route, meaning},
};

/// Reads a request; the view of it is OpenAI's.
pub(super) fn read(route: &Route<'_>, body: &Value) -> Result<Value, Refusal> {
    match route.endpoint {
        Endpoint::Embedding | Endpoint::Embeddings => {
            embedding::check(route, body)?;
            Ok(embed_as_openai(route, body))
        }
        _ => {
            request::check(body)?;
            Ok(as_openai(route, body))
        }
    }
}

/// The answer to a request that is turned away: a `google.rpc.Status`.
pub(super) fn refuse(refusal: &Refusal) -> Answer {
    let bad = |message: String, details: Value| (StatusCode::BAD_REQUEST, message, details);
    let (status, message, details) = match refusal {
        Refusal::Status(status) => (*status, usual(*status).to_owned(), Value::Null),
        // The front end's own page, for a path that there is not.
        Refusal::NoSuchPath(path) => (
            StatusCode::NOT_FOUND,
            format!("The requested URL {path} was not found on this server."),
            Value::Null,
        ),
        Refusal::Unreadable(why) => bad(format!("Invalid JSON payload received. {why}"), Value::Null),
        Refusal::Invalid(wrong) => {
            let violation = |(field, what): &(Option<String>, String)| match field {
                Some(field) => json!({ "field": field, "description": what }),
                None => json!({ "description": what }),
            };
            let violations: Vec<_> = wrong.fields.iter().map(violation).collect();
            let details = match violations.as_slice() {
                [] => Value::Null,
                _ => {
                    json!([{ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations }])
                }
            };
            bad(wrong.message.clone(), details)
        }
        Refusal::TooLong { tokens, most } => bad(
            format!(
                "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({most})."
            ),
            Value::Null,
        ),
        Refusal::Prefill => bad(
            "Please ensure that multiturn requests end with a user role or a function response.".to_owned(),
            Value::Null,
        ),
        Refusal::NoKey => (
            StatusCode::FORBIDDEN,
            "Method doesn't allow unregistered callers (callers without established identity). \
             Please use API Key or other form of API consumer identity to call this API."
                .to_owned(),
            Value::Null,
        ),
        // A wrong key is a wrong argument here.
        Refusal::BadKey => {
            let message = "API key not valid. Please pass a valid API key.";
            let details = json!([
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": { "service": "generativelanguage.googleapis.com" },
                },
                { "@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message },
            ]);
            bad(message.to_owned(), details)
        }
        Refusal::Limited { wait, .. } => {
            let delay = format!("{}s", wait.as_secs_f64());
            let details = json!([
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{
                        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
                        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
                    }],
                },
                { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay },
            ]);
            let message = format!(
                "You exceeded your current quota, please check your plan and billing details. Please retry in {delay}."
            );
            (StatusCode::TOO_MANY_REQUESTS, message, details)
        }
    };
    let mut body = error(status, &message);
    if !details.is_null() {
        body["error"]["details"] = details;
    }
    Answer::json(status, body.to_string())
}

/// The event of an error inside a stream.
pub(super) fn error_event(body: Option<&Value>) -> String {
    let body = match body {
        Some(body) if body.pointer("/error/status").is_some_and(Value::is_string) => body.clone(),
        Some(body) => {
            let (status, message) = meaning(body);
            error(status, &message)
        }
        None => error(StatusCode::SERVICE_UNAVAILABLE, usual(StatusCode::SERVICE_UNAVAILABLE)),
    };
    format!("data: {body}\r\n\r\n")
}

pub(super) fn models() -> Answer {
    let model = |id: &str, method: &str| json!({ "name": format!("models/{id}"), "version": "1", "displayName": id, "supportedGenerationMethods": [method] });
    let models = [
        model("mock", "generateContent"),
        model("mock-large", "generateContent"),
        model("mock-embedding", "embedContent"),
    ];
    Answer::json(StatusCode::OK, json!({ "models": models }).to_string())
}

fn error(status: StatusCode, message: &str) -> Value {
    let name = match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    json!({ "error": { "code": status.as_u16(), "message": message, "status": name } })
}

fn usual(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "Resource has been exhausted (e.g. check quota).",
        500 => "An internal error has occurred.",
        503 => "The model is overloaded. Please try again later.",
        504 => "The request timed out. Please try again.",
        _ => status.canonical_reason().unwrap_or("an error"),
    }
}

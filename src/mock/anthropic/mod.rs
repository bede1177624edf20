//! Anthropic's Messages: what is asked, read strictly, and what is answered, rendered as text.

mod answer;
mod request;
mod tables;
mod view;

use http::StatusCode;
use serde_json::{Value, json};

pub(super) use self::{answer::answer, view::openai as as_openai};
use super::{answer::Answer, refusal::Refusal, route::meaning};

/// Reads a request; the view of it is OpenAI's.
pub(super) fn read(body: &Value, version: Option<&str>, is_beta: bool) -> Result<Value, Refusal> {
    if version.is_none() {
        return Err("anthropic-version: header is required".to_owned().into());
    }
    request::check(body, is_beta)?;
    Ok(as_openai(body))
}

/// The answer to a request that is turned away.
pub(super) fn refuse(refusal: &Refusal, request: u64) -> Answer {
    let (status, message) = match refusal {
        Refusal::Status(status) => (*status, usual(*status).to_owned()),
        Refusal::NoSuchPath(path) => (StatusCode::NOT_FOUND, format!("Not found: {path}")),
        Refusal::Unreadable(why) => {
            (StatusCode::BAD_REQUEST, format!("The request body is not valid JSON: {why}"))
        }
        Refusal::Invalid(wrong) => (StatusCode::BAD_REQUEST, wrong.message.clone()),
        Refusal::TooLong { tokens, most } => {
            (StatusCode::BAD_REQUEST, format!("prompt is too long: {tokens} tokens > {most} maximum"))
        }
        Refusal::Prefill => (
            StatusCode::BAD_REQUEST,
            "This model does not support assistant message prefill. The conversation must end with a user message."
                .to_owned(),
        ),
        Refusal::NoKey => (StatusCode::UNAUTHORIZED, "x-api-key header is required".to_owned()),
        Refusal::BadKey => (StatusCode::UNAUTHORIZED, "invalid x-api-key".to_owned()),
        Refusal::Limited { .. } => (
            StatusCode::TOO_MANY_REQUESTS,
            "This request would exceed your organization's rate limit.".to_owned(),
        ),
    };
    let mut body = error(status, &message);
    body["request_id"] = format!("req_{request:016x}").into();
    Answer::json(status, body.to_string())
}

/// The event of an error inside a stream.
pub(super) fn error_event(body: Option<&Value>) -> String {
    let body = match body {
        Some(body) if body["type"] == "error" => body.clone(),
        Some(body) => {
            let (status, message) = meaning(body);
            error(status, &message)
        }
        None => error(StatusCode::SERVICE_UNAVAILABLE, "Overloaded"),
    };
    format!("event: error\ndata: {body}\n\n")
}

pub(super) fn models() -> Answer {
    let model = |id: &str| json!({ "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z" });
    let data = ["mock", "mock-large"].map(model);
    let body = json!({ "data": data, "has_more": false, "first_id": "mock", "last_id": "mock-large" });
    Answer::json(StatusCode::OK, body.to_string())
}

fn error(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

fn usual(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "This request would exceed your organization's rate limit.",
        500 => "Internal server error",
        503 | 529 => "Overloaded",
        _ => status.canonical_reason().unwrap_or("an error"),
    }
}

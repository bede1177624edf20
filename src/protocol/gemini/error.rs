//! Errors: google.rpc.Status in `{"error": {code, message, status, details}}`, or in an array of one such object (as
//! streamGenerateContent answers without `alt=sse`).
//!
//! What Google says in a status, a reason or in words alone becomes what OpenAI's error fields say, so that one table of
//! classes does for all. `status` is the HTTP status that the error stands for, which is not always the one that it came
//! with: a wrong key comes as 400.
//!
//! | Google | `code` | `type` | status |
//! |---|---|---|---|
//! | reason `API_KEY_INVALID`, "API key not valid", "API key expired" (400) | `invalid_api_key` | `authentication_error` | 401 |
//! | `UNAUTHENTICATED` | `unauthenticated` | `authentication_error` | 401 |
//! | `PERMISSION_DENIED` | `permission_denied` | `permission_error` | 403 |
//! | `FAILED_PRECONDITION` about location or billing | `failed_precondition` | `permission_error` | 403 |
//! | `NOT_FOUND` | `not_found` | `not_found_error` | 404 |
//! | "input token count … exceeds the maximum number of tokens" | `context_length_exceeded` | `invalid_request_error` | 400 |
//! | "sensitive words", "Responsible AI" | `content_filter` | `invalid_request_error` | 400 |
//! | `RESOURCE_EXHAUSTED`, a quota of a day, one of 0, or credits that are used up | `insufficient_quota` | `rate_limit_error` | 429 |
//! | `RESOURCE_EXHAUSTED` | `rate_limit_exceeded` | `rate_limit_error` | 429 |
//! | `UNAVAILABLE` | `overloaded` | `overloaded_error` | 503 |
//! | `DEADLINE_EXCEEDED` | `deadline_exceeded` | `timeout_error` | 504 |
//! | anything else | its status in small letters | by its HTTP status | its `code` |

use std::time::Duration;

use serde_json::{Value, json};

use crate::protocol::openai::ErrorFields;

/// An error answer's body, as the fields that OpenAI's classes are read from.
pub fn error_fields(body: &Value) -> ErrorFields {
    let error = Error::of(body);
    if error.is_translated() {
        return ErrorFields::of(body);
    }
    let (code, kind, status) = error.meaning();
    ErrorFields {
        kind: Some(kind.to_owned()),
        code: Some(code),
        param: error.field().map(str::to_owned),
        message: error.message.map(str::to_owned),
        status,
    }
}

/// How long Google asks to wait before the next try (google.rpc.RetryInfo), where it does.
pub fn retry_delay(body: &Value) -> Option<Duration> {
    let info = Error::of(body).detail("RetryInfo")?;
    let seconds = info.get("retryDelay")?.as_str()?.strip_suffix('s')?;
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
}

/// An error inside an answer, as a text whose `error` member has the fields, and the details as they came; none where it is
/// no error.
pub(super) fn error_json(text: &str) -> Option<String> {
    let body: Value = serde_json::from_str(text).ok()?;
    let error = Error::of(&body);
    if error.is_empty() {
        return None;
    }
    let fields = error_fields(&body);
    let mut out = json!({
        "code": fields.code,
        "type": fields.kind,
        "param": fields.param,
        "message": fields.message,
    });
    if let Some(status) = fields.status {
        out["status"] = status.into();
    }
    if let Some(details) = error.error.and_then(|error| error.get("details")) {
        out["details"] = details.clone();
    }
    Some(json!({ "error": out }).to_string())
}

struct Error<'v> {
    error: Option<&'v Value>,
    message: Option<&'v str>,
    /// Google's canonical code, by name.
    status: &'v str,
    /// The HTTP status.
    code: Option<u16>,
}

impl<'v> Error<'v> {
    fn of(body: &'v Value) -> Self {
        let body = body.as_array().map_or(Some(body), |list| list.iter().find(|item| item.is_object()));
        let error = body.map(|body| body.get("error").unwrap_or(body));
        let member = |name| error.and_then(|error| error.get(name));
        let code = member("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        Self {
            error,
            message: member("message").or(error).and_then(Value::as_str),
            status: member("status").and_then(Value::as_str).unwrap_or(""),
            code: code.filter(|code| (400..600).contains(code)),
        }
    }

    fn is_empty(&self) -> bool {
        self.message.is_none() && self.status.is_empty() && self.code.is_none()
    }

    /// Whether it is one of [`error_json`]: Google's codes are numbers, and nothing of it is a type.
    fn is_translated(&self) -> bool {
        let is_text = |name| self.error.and_then(|error| error.get(name)).is_some_and(Value::is_string);
        is_text("code") && is_text("type")
    }

    fn details(&self) -> impl Iterator<Item = &'v Value> + use<'v> {
        self.error.and_then(|error| error.get("details")).and_then(Value::as_array).into_iter().flatten()
    }

    /// The detail of a type (`type.googleapis.com/google.rpc.NAME`).
    fn detail(&self, name: &str) -> Option<&'v Value> {
        self.details().find(|detail| {
            let kind = detail.get("@type").and_then(Value::as_str).unwrap_or("");
            kind.rsplit_once("google.rpc.").is_some_and(|(_, have)| have == name)
        })
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.unwrap_or("").to_ascii_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    /// `code`, `type` and the HTTP status it stands for.
    fn meaning(&self) -> (String, &'static str, Option<u16>) {
        let named = |code: &str, kind, status| (code.to_owned(), kind, Some(status));
        let reason = self.detail("ErrorInfo").and_then(|info| info.get("reason")).and_then(Value::as_str);
        if reason == Some("API_KEY_INVALID") || self.says(&["api key not valid", "api key expired"]) {
            return named("invalid_api_key", "authentication_error", 401);
        }
        let invalid = matches!(self.status, "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "");
        if invalid && self.is_too_long() {
            return named("context_length_exceeded", "invalid_request_error", 400);
        }
        if invalid && self.says(&["responsible ai", "sensitive words"]) {
            return named("content_filter", "invalid_request_error", 400);
        }
        let status = self.code.or_else(|| http_status(self.status));
        match (self.status, status) {
            ("UNAUTHENTICATED", _) => named("unauthenticated", "authentication_error", 401),
            ("PERMISSION_DENIED", _) => named("permission_denied", "permission_error", 403),
            ("FAILED_PRECONDITION", _) if self.says(&["location", "country", "billing"]) => {
                named("failed_precondition", "permission_error", 403)
            }
            ("NOT_FOUND", _) => named("not_found", "not_found_error", 404),
            ("RESOURCE_EXHAUSTED", _) | ("", Some(429)) if self.is_used_up() => {
                named("insufficient_quota", "rate_limit_error", 429)
            }
            ("RESOURCE_EXHAUSTED", _) | ("", Some(429)) => {
                named("rate_limit_exceeded", "rate_limit_error", 429)
            }
            ("UNAVAILABLE", _) => ("overloaded".to_owned(), "overloaded_error", status),
            ("DEADLINE_EXCEEDED", _) => ("deadline_exceeded".to_owned(), "timeout_error", status),
            (name, status) => {
                let kind = match status {
                    Some(401) => "authentication_error",
                    Some(403) => "permission_error",
                    Some(404) => "not_found_error",
                    Some(400..=499) => "invalid_request_error",
                    _ => "server_error",
                };
                let code = if name.is_empty() { kind.to_owned() } else { name.to_ascii_lowercase() };
                (code, kind, status)
            }
        }
    }

    /// The model takes fewer tokens than the prompt has; said in words alone.
    fn is_too_long(&self) -> bool {
        self.says(&[
            "exceeds the maximum number of tokens",
            "exceeds the maximum context length",
            "exceeds the maximum input token",
            "input context is too long",
        ]) || (self.says(&["input token count"]) && self.says(&["exceed"]))
    }

    /// Whether waiting a minute brings the quota back: not one of a day, nor one that there is nothing of.
    fn is_used_up(&self) -> bool {
        let violations = self.detail("QuotaFailure").and_then(|failure| failure.get("violations"));
        let violations = violations.and_then(Value::as_array).into_iter().flatten();
        let mut texts = violations.map(|violation| {
            let text = |name| violation.get(name).and_then(Value::as_str).unwrap_or("");
            (text("quotaId"), text("quotaValue"))
        });
        texts.any(|(id, value)| id.contains("PerDay") || value == "0")
            || self.says(&["credits are depleted", "credit balance", "spending cap"])
    }

    /// What of the request is wrong (google.rpc.BadRequest).
    fn field(&self) -> Option<&'v str> {
        let first = self.detail("BadRequest")?.get("fieldViolations")?.as_array()?.first()?;
        first.get("field")?.as_str().filter(|field| !field.is_empty())
    }
}

/// The HTTP status of a canonical code (google/rpc/code.proto).
fn http_status(name: &str) -> Option<u16> {
    Some(match name {
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "NOT_FOUND" => 404,
        "ABORTED" | "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" => 429,
        "CANCELLED" => 499,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" => 500,
        "UNIMPLEMENTED" => 501,
        "UNAVAILABLE" => 503,
        "DEADLINE_EXCEEDED" => 504,
        _ => return None,
    })
}

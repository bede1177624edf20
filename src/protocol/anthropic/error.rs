//! What an error of the API says of itself: `{"type":"error","error":{"type":…,"message":…},"request_id":…}`.
//!
//! Source: platform.claude.com/docs/en/api/errors. Some errors are told apart by their words alone, all of them by the type
//! `invalid_request_error` and the status 400: they get the code that OpenAI has for them.

use serde_json::Value;

use crate::protocol::json::{Members, quote};
use crate::protocol::openai::ErrorFields;

/// The status that stands for a type.
const STATUSES: [(&str, u16); 11] = [
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("conflict_error", 409),
    ("request_too_large", 413),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("timeout_error", 504),
    ("overloaded_error", 529),
];

/// The code that stands for words, in lower case.
const CODES: [(&str, &str); 7] = [
    ("prompt is too long", "context_length_exceeded"),
    ("exceed context limit", "context_length_exceeded"),
    ("input is too long", "context_length_exceeded"),
    ("exceeds the maximum context", "context_length_exceeded"),
    ("credit balance is too low", "insufficient_quota"),
    // A limit of spending that the organization or the workspace has set for itself.
    ("api usage limits", "insufficient_quota"),
    ("blocked by content filtering", "content_filter"),
];

/// An error answer's body as the fields that `class_of` reads.
pub fn error_fields(body: &Value) -> ErrorFields {
    let mut fields = ErrorFields::of(body);
    let kind = fields.kind.as_deref().unwrap_or_default();
    fields.status =
        fields.status.or_else(|| STATUSES.iter().find(|(name, _)| *name == kind).map(|(_, status)| *status));
    let message = fields.message.as_deref().unwrap_or_default();
    if fields.code.is_none() {
        let words = message.to_ascii_lowercase();
        let found = CODES.iter().find(|(said, _)| words.contains(said)).map(|(_, code)| *code);
        let code = found.or((kind == "billing_error").then_some("insufficient_quota"));
        fields.code = code.map(str::to_owned);
    }
    if fields.param.is_none() {
        fields.param = place(message).map(str::to_owned);
    }
    fields
}

/// The member that a message begins with: `messages.0.content: …`.
fn place(message: &str) -> Option<&str> {
    let (place, _) = message.split_once(": ")?;
    let fits = |char: char| char.is_ascii_alphanumeric() || "_.[]".contains(char);
    (place.starts_with(|char: char| char.is_ascii_lowercase()) && place.chars().all(fits)).then_some(place)
}

/// An error inside a stream, with what [`error_fields`] finds out written into its `error`.
pub(super) fn named(json: &str) -> String {
    let fields = serde_json::from_str(json).map(|body| error_fields(&body)).unwrap_or_default();
    let found = [
        ("status", fields.status.map(|status| status.to_string())),
        ("code", fields.code.as_deref().map(quote)),
        ("param", fields.param.as_deref().map(quote)),
    ];
    let Ok(event) = Members::of(json) else { return json.to_owned() };
    let mut error = event.raw("error").unwrap_or("{}").to_owned();
    for (name, value) in found {
        if let (Some(value), Ok(members)) = (value, Members::of(&error)) {
            error = members.with(name, &value);
        }
    }
    event.with("error", &error)
}

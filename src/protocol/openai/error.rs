//! What an error of a provider means: its class, by status and by what the body says.

use std::borrow::Cow;

use serde_json::Value;

/// The classes of errors that an answer can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    BadRequest,
    ContextLength,
    ContentFilter,
    Authentication,
    PermissionDenied,
    NotFound,
    Conflict,
    UnprocessableEntity,
    /// 429; `quota`: the credit is gone, and waiting does not bring it back.
    RateLimit {
        quota: bool,
    },
    InternalServer,
    /// Any other status.
    Other,
}

/// The fields of an error body, wherever the provider puts them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFields {
    pub kind: Option<String>,
    pub code: Option<String>,
    pub param: Option<String>,
    pub message: Option<String>,
    /// A status that the error names itself (errors inside a stream of status 200).
    pub status: Option<u16>,
}

/// What the names of errors stand for where no status says it. What tells more comes first: OpenAI counts a wrong key and an
/// unknown model among the invalid requests.
const IMPLIED: [(&str, u16); 13] = [
    ("rate_limit", 429),
    ("insufficient_quota", 429),
    ("billing", 402),
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("permission", 403),
    ("not_found", 404),
    ("request_too_large", 413),
    ("context_length", 400),
    ("content_filter", 400),
    ("content_policy", 400),
    ("overloaded", 529),
    ("invalid_request", 400),
];

impl ErrorFields {
    /// Reads `{"error": {…}}`, `{"error": "text"}` or the bare fields.
    pub fn of(body: &Value) -> Self {
        let error = body.get("error").unwrap_or(body);
        if let Value::String(message) = error {
            return Self { message: Some(message.clone()), ..Self::default() };
        }
        let text = |name: &str| match error.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let status = ["status", "status_code", "code"].iter().find_map(|name| {
            let number = match error.get(*name)? {
                Value::Number(number) => number.as_u64()?,
                Value::String(digits) => digits.parse().ok()?,
                _ => return None,
            };
            u16::try_from(number).ok().filter(|status| (400..600).contains(status))
        });
        Self {
            kind: text("type"),
            code: text("code"),
            param: text("param"),
            message: text("message"),
            status,
        }
    }

    /// The status that an error inside a 200 stands for.
    pub fn implied_status(&self) -> u16 {
        if let Some(status) = self.status {
            return status;
        }
        let named = IMPLIED.iter().find(|(name, _)| self.mentions(&[name]));
        named.map_or(500, |(_, status)| *status)
    }

    fn mentions(&self, words: &[&str]) -> bool {
        let fields = [&self.kind, &self.code];
        fields.into_iter().flatten().any(|field| words.iter().any(|word| field.contains(word)))
    }

    fn says(&self, words: &[&str]) -> bool {
        let message: Cow<'_, str> = self.message.as_deref().unwrap_or("").to_ascii_lowercase().into();
        words.iter().any(|word| message.contains(word))
    }
}

/// The class of an answer by its status and error fields.
pub fn class_of(status: u16, fields: &ErrorFields) -> ErrorClass {
    match status {
        400 | 413
            if fields.mentions(&["context_length"])
                || fields.says(&["maximum context length", "context window"]) =>
        {
            ErrorClass::ContextLength
        }
        400 if fields.mentions(&["content_filter", "content_policy"]) => ErrorClass::ContentFilter,
        // Anthropic says it in words alone.
        400 if fields.says(&["credit balance is too low"]) => ErrorClass::RateLimit { quota: true },
        400 | 402 if fields.mentions(&["insufficient_quota", "insufficient_balance"]) => {
            ErrorClass::RateLimit { quota: true }
        }
        400 => ErrorClass::BadRequest,
        401 => ErrorClass::Authentication,
        402 => ErrorClass::RateLimit { quota: true },
        403 => ErrorClass::PermissionDenied,
        404 => ErrorClass::NotFound,
        409 => ErrorClass::Conflict,
        422 => ErrorClass::UnprocessableEntity,
        429 => ErrorClass::RateLimit { quota: fields.mentions(&["insufficient_quota"]) },
        500.. => ErrorClass::InternalServer,
        _ => ErrorClass::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(status: u16, body: Value) -> ErrorClass {
        class_of(status, &ErrorFields::of(&body))
    }

    #[test]
    fn the_body_refines_the_class_of_the_status() {
        assert_eq!(
            class(400, json!({"error":{"code":"context_length_exceeded"}})),
            ErrorClass::ContextLength
        );
        assert_eq!(
            class(400, json!({"error":{"message":"This model's maximum context length is 8192 tokens"}})),
            ErrorClass::ContextLength
        );
        assert_eq!(class(400, json!({"error":{"code":"content_filter"}})), ErrorClass::ContentFilter);
        assert_eq!(
            class(429, json!({"error":{"type":"insufficient_quota"}})),
            ErrorClass::RateLimit { quota: true }
        );
        assert_eq!(class(429, json!("slow down")), ErrorClass::RateLimit { quota: false });
        assert_eq!(class(529, Value::Null), ErrorClass::InternalServer);
        assert_eq!(class(418, Value::Null), ErrorClass::Other);
    }

    #[test]
    fn an_error_inside_a_200_names_its_own_status() {
        let implied = |body: Value| ErrorFields::of(&body).implied_status();
        assert_eq!(implied(json!({"error":{"code":503}})), 503);
        assert_eq!(implied(json!({"error":{"code":"429"}})), 429);
        assert_eq!(implied(json!({"error":{"type":"rate_limit_error"}})), 429);
        assert_eq!(implied(json!({"error":{"type":"overloaded_error"}})), 529);
        assert_eq!(implied(json!({"error":"boom"})), 500);
        let invalid = |code: &str| json!({"error":{"type":"invalid_request_error","code":code}});
        assert_eq!(implied(invalid("invalid_api_key")), 401);
        assert_eq!(implied(invalid("model_not_found")), 404);
        assert_eq!(implied(invalid("content_filter")), 400);
        assert_eq!(implied(json!({"error":{"code":"content_filter"}})), 400);
    }
}

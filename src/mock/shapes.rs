//! What a test says to the upstream and reads from it: answers, matchers, recorded requests, counts.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};

/// Which requests an answer is for.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Requests whose body holds at least these fields, deeply, as it came or in OpenAI's shape; arrays match element by
    /// element.
    Fields(Map<String, Value>),
    /// Requests for this path, with or without a leading `/v1`, whatever their query.
    Path(String),
    /// Requests for which the [`Asker`](super::Asker) says so, asked with this number.
    Ask(u32),
}

/// An answer of a test's own. Read from JSON as a string (the content) or an object.
#[derive(Debug, Clone, Default)]
pub struct MockAnswer {
    pub content: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    /// In OpenAI's words, which become those of the request's protocol, or in those; without it the tokens are estimated.
    pub usage: Option<Map<String, Value>>,
    pub finish_reason: Option<String>,
    /// Deltas that a stream's content is split into; without it each token is one.
    pub chunks: Option<u32>,
    pub headers: Headers,
    /// An exact JSON body, in place of a chat's.
    pub json: Option<Value>,
    /// Exact bytes, in place of a chat's.
    pub raw: Option<RawBody>,
    pub status: Option<Status>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub r#type: Option<String>,
    #[serde(default)]
    pub index: Option<u32>,
    pub function: ToolFunction,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolFunction {
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawBody {
    pub body: String,
    #[serde(default)]
    pub content_type: Option<String>,
}

/// A status that a final answer can have: 200 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(super) StatusCode);

/// Header fields that are known to be writable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub(super) Vec<(HeaderName, HeaderValue)>);

/// A request as it came in.
#[derive(Debug, Clone, Serialize)]
pub struct RecordedRequest {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case; repeated fields joined by a comma.
    pub headers: BTreeMap<String, String>,
    /// The parsed JSON, or the text where it is none.
    pub body: Value,
    /// Number of the connection, from 1.
    pub connection: u64,
    /// Number of the HTTP/2 stream on its connection, from 1.
    pub stream: Option<u64>,
    /// Milliseconds since 1970.
    pub at: f64,
}

/// Connections so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    pub opened: u64,
    pub open: u64,
    pub closed: u64,
    /// TLS handshakes that resumed a session.
    pub handshakes_resumed: u64,
}

impl MockAnswer {
    /// Whether it says its body itself, and so fits any request.
    pub(super) fn is_exact(&self) -> bool {
        self.json.is_some() || self.raw.is_some()
    }
}

impl From<&str> for MockAnswer {
    fn from(content: &str) -> Self {
        Self { content: Some(content.to_owned()), ..Self::default() }
    }
}

/// A value that is there, `null` included, which an option alone would take for none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for MockAnswer {
    /// By hand and not untagged, whose errors name no field.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default, deny_unknown_fields)]
        struct Fields {
            content: Option<String>,
            tool_calls: Vec<ToolCall>,
            usage: Option<Map<String, Value>>,
            finish_reason: Option<String>,
            chunks: Option<u32>,
            headers: Headers,
            #[serde(deserialize_with = "given")]
            json: Option<Value>,
            raw: Option<RawBody>,
            status: Option<Status>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = MockAnswer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }
            fn visit_str<E: Error>(self, content: &str) -> Result<MockAnswer, E> {
                Ok(content.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MockAnswer, A::Error> {
                let f = Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(MockAnswer {
                    content: f.content,
                    tool_calls: f.tool_calls,
                    usage: f.usage,
                    finish_reason: f.finish_reason,
                    chunks: f.chunks,
                    headers: f.headers,
                    json: f.json,
                    raw: f.raw,
                    status: f.status,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        match StatusCode::from_u16(number) {
            Ok(status) if number >= 200 => Ok(Self(status)),
            _ => Err(D::Error::custom(format!("status: must be 200 to 999, got {number}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<Cow<'de, str>, Cow<'de, str>>::deserialize(deserializer)?;
        let parse = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
            let parsed = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
            parsed.ok_or_else(|| {
                D::Error::custom(format!("headers: {name:?} cannot be written as a header field"))
            })
        };
        fields.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Whether `whole` holds at least what `part` says.
pub(super) fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => holds_fields(whole, part),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        // JavaScript knows one kind of number: 1 and 1.0 are the same there.
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        _ => whole == part,
    }
}

pub(super) fn holds_fields(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
}

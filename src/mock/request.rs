//! A request as the speakers of HTTP/1.1 and HTTP/2 hand it over, and the little of its body that an answer
//! depends on, read without building a document of it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{shapes::RecordedRequest, text};

/// Header fields of a request, most of which nobody looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeadOf<'a> {
    /// The bytes of a whole HTTP/1.1 head that was parsed once already.
    H1(&'a [u8]),
    H2(&'a HeaderMap, Option<&'a str>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) head: HeadOf<'a>,
    pub(super) body: &'a [u8],
    pub(super) connection: u64,
    pub(super) stream: Option<u64>,
}

impl<'a> Request<'a> {
    /// The path without its query and a leading `/v1`.
    pub(super) fn endpoint(&self) -> &'a str {
        endpoint(self.path)
    }

    /// The body, or its text where it is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(self.body).into_owned()))
    }

    /// The first field of this name, if it is a text.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        match self.head {
            HeadOf::H1(bytes) => {
                let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
                let mut head = httparse::Request::new(&mut headers);
                head.parse(bytes).ok()?;
                let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
                std::str::from_utf8(field.value).ok().map(|value| value.to_owned().into())
            }
            HeadOf::H2(map, _) => map.get(name)?.to_str().ok().map(Cow::Borrowed),
        }
    }

    pub(super) fn record(&self) -> RecordedRequest {
        let body = self.json();
        RecordedRequest {
            method: self.method.to_owned(),
            path: self.path.to_owned(),
            headers: self.headers(),
            body,
            connection: self.connection,
            stream: self.stream,
            at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0,
        }
    }

    fn headers(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::<String, String>::new();
        let mut add = |name: &str, value: &[u8]| {
            let value = String::from_utf8_lossy(value);
            let known = fields.entry(name.to_ascii_lowercase()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(&value);
        };
        match self.head {
            HeadOf::H1(bytes) => {
                let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
                let mut head = httparse::Request::new(&mut headers);
                // It was parsed before; what does not parse has no fields.
                if head.parse(bytes).is_ok() {
                    head.headers.iter().for_each(|field| add(field.name, field.value));
                }
            }
            HeadOf::H2(map, authority) => {
                map.iter().for_each(|(name, value)| add(name.as_str(), value.as_bytes()));
                if let Some(authority) = authority.filter(|_| !map.contains_key(http::header::HOST)) {
                    add("host", authority.as_bytes());
                }
            }
        }
        fields
    }
}

/// Header fields that a request may have.
pub(super) const MAX_HEADERS: usize = 100;

pub(super) fn endpoint(path: &str) -> &str {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match path.strip_prefix("/v1") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// What is asked of `chat/completions`.
#[derive(Debug, Deserialize)]
pub(super) struct ChatAsk<'a> {
    #[serde(borrow, default)]
    model: Option<Name<'a>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    n: Option<u32>,
    #[serde(default)]
    messages: Digest,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl ChatAsk<'_> {
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_ref().map(|name| &*name.0)
    }

    pub(super) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(super) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true))
    }

    /// How many choices; bounded, for a test's slip must not take the machine's memory.
    pub(super) fn choices(&self) -> u32 {
        self.n.unwrap_or(1).clamp(1, 128)
    }

    pub(super) fn prompt(&self) -> Digest {
        self.messages
    }
}

/// The model alone, of any body that names one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelAsk<'a> {
    #[serde(borrow, default)]
    model: Option<Name<'a>>,
}

impl ModelAsk<'_> {
    pub(super) fn name(&self) -> Option<&str> {
        self.model.as_ref().map(|name| &*name.0)
    }
}

#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The text of messages, boiled down to its length and a hash.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Digest {
    pub(super) chars: u64,
    pub(super) hash: u64,
}

impl Digest {
    pub(super) fn of(text: &str) -> Self {
        Self { chars: text.chars().count() as u64, hash: text::hash(1, text.as_bytes()) }
    }

    /// Four characters are a token, as a rule of thumb.
    pub(super) fn tokens(self) -> u64 {
        self.chars.div_ceil(4).max(1)
    }

    fn and(self, other: Self) -> Self {
        Self { chars: self.chars + other.chars, hash: text::mix(self.hash, other.hash) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("messages")
            }
            fn visit_str<E>(self, text: &str) -> Result<Digest, E> {
                Ok(Digest::of(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Digest, A::Error> {
                let mut sum = Digest::default();
                while let Some(item) = items.next_element::<Digest>()? {
                    sum = sum.and(item);
                }
                Ok(sum)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Digest, A::Error> {
                let mut sum = Digest::default();
                while let Some(Name(key)) = fields.next_key()? {
                    match &*key {
                        "role" | "type" | "id" => drop(fields.next_value::<IgnoredAny>()?),
                        _ => sum = sum.and(fields.next_value()?),
                    }
                }
                Ok(sum)
            }
            fn visit_unit<E>(self) -> Result<Digest, E> {
                Ok(Digest::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Digest, E> {
                Ok(Digest::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Digest, E> {
                Ok(Digest::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Digest, E> {
                Ok(Digest::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Digest, E> {
                Ok(Digest::default())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_counts_what_is_said_and_not_how_it_is_wrapped() {
        let plain: ChatAsk<'_> =
            serde_json::from_str(r#"{"model":"m","messages":[{"role":"user","content":"12345678"}]}"#)
                .unwrap();
        let parts: ChatAsk<'_> = serde_json::from_str(
            r#"{"messages":[{"content":[{"type":"text","text":"1234"},{"type":"text","text":"5678"}],"x":null}]}"#,
        )
        .unwrap();
        assert_eq!((plain.prompt().chars, parts.prompt().chars), (8, 8));
        assert_eq!((plain.prompt().tokens(), plain.model(), parts.model()), (2, Some("m"), None));
    }

    #[test]
    fn a_leading_v1_and_a_query_are_no_part_of_the_endpoint() {
        assert_eq!(endpoint("/v1/models?x=1"), "/models");
        assert_eq!(endpoint("/models"), "/models");
        assert_eq!(endpoint("/v1beta/models"), "/v1beta/models");
    }
}

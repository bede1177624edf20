//! The faults that can be asked for, and which request meets which.

use std::{fmt, time::Instant};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use serde_json::Value;

use super::{
    options::millis,
    shapes::{Headers, Status},
};

/// Something that goes wrong on the wire. What each does there is told in [`script`](super::script).
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum MockFault {
    /// An error answer; without a body the provider's usual one for that status.
    Status {
        status: Status,
        #[serde(default)]
        body: Option<Value>,
        #[serde(default)]
        headers: Headers,
    },
    /// HTTP/1.1: a TCP reset. HTTP/2: RST_STREAM, or a TCP reset after `accept`.
    Reset {
        #[serde(default)]
        after: ResetAfter,
    },
    /// The request is read, and nothing answered for these milliseconds, or for ever.
    Silence {
        #[serde(default, rename = "for")]
        lasting: Option<f64>,
    },
    /// A pause of these milliseconds after a number of tokens.
    Stall {
        after_tokens: u32,
        #[serde(rename = "for")]
        lasting: f64,
    },
    /// Milliseconds to the first token, which holds back the whole body, and for each further one.
    Slow {
        #[serde(default)]
        first_token: f64,
        #[serde(default)]
        per_token: f64,
    },
    /// The body ends after a number of tokens: broken off, or with `clean` properly but too early.
    Cut {
        after_tokens: u32,
        #[serde(default)]
        clean: bool,
    },
    /// Event number `at_event`, from 1, is broken JSON.
    Malformed { at_event: u32 },
    /// The stream ends without `[DONE]`, or Anthropic's `message_stop`.
    NoDone {},
    /// After a number of tokens an event tells of an error, and the body ends. A body in another provider's shape is
    /// put into that of the request's; without one it is the provider's usual.
    ErrorInStream {
        after_tokens: u32,
        #[serde(default)]
        body: Option<Value>,
    },
    /// GOAWAY: the request is answered, or refused. HTTP/1.1: answered with `connection: close`, or closed.
    Goaway {
        #[serde(default)]
        last_stream: LastStream,
    },
    /// The answer is followed by an unannounced close.
    CloseIdle {},
    /// `content-length` is off by so many bytes. Below 0 the rest follows as garbage; above 0 the connection
    /// closes before the promised end.
    WrongLength { by: i64 },
    /// A byte within the JSON text is no UTF-8.
    BadUtf8 {},
    /// Bytes that are no HTTP, then the end of the connection.
    Garbage {},
}

/// How far an exchange comes before it is reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResetAfter {
    Accept,
    #[default]
    Request,
    Headers,
    Tokens(u32),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastStream {
    #[default]
    Processed,
    Refused,
}

/// Which requests meet a fault.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultScope {
    /// How many; by default one, or any number within `for`.
    pub times: Option<u32>,
    /// For how many milliseconds from now.
    #[serde(rename = "for")]
    pub lasting: Option<f64>,
    /// Only requests for this model.
    pub model: Option<String>,
    /// Only requests with this key, wherever their protocol has it.
    pub key: Option<String>,
}

impl<'de> Deserialize<'de> for ResetAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct After;
        impl Visitor<'_> for After {
            type Value = ResetAfter;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("after: 'accept', 'request', 'headers' or a number of tokens")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ResetAfter, E> {
                match text {
                    "accept" => Ok(ResetAfter::Accept),
                    "request" => Ok(ResetAfter::Request),
                    "headers" => Ok(ResetAfter::Headers),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_u64<E: Error>(self, tokens: u64) -> Result<ResetAfter, E> {
                Ok(ResetAfter::Tokens(u32::try_from(tokens).unwrap_or(u32::MAX)))
            }
        }
        deserializer.deserialize_any(After)
    }
}

/// The faults that are still to be met, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    fault: MockFault,
    left: Option<u32>,
    until: Option<Instant>,
    model: Option<String>,
    key: Option<String>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: MockFault, scope: FaultScope) {
        let left = match (scope.times, scope.lasting) {
            (None, None) => Some(1),
            (times, _) => times,
        };
        let until = scope.lasting.map(|lasting| Instant::now() + millis(lasting));
        self.pending.push(Pending { fault, left, until, model: scope.model, key: scope.key });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    /// The fault that a new connection meets before it has said anything: a reset after `accept`.
    pub(super) fn take_for_connection(&mut self) -> bool {
        self.take(Pending::is_at_accept).is_some()
    }

    pub(super) fn take_for_request(&mut self, model: Option<&str>, key: Option<&str>) -> Option<MockFault> {
        let fits = |wanted: &Option<String>, own| wanted.as_deref().is_none_or(|wanted| Some(wanted) == own);
        self.take(|pending| !pending.is_at_accept() && fits(&pending.model, model) && fits(&pending.key, key))
    }

    fn take(&mut self, applies: impl Fn(&Pending) -> bool) -> Option<MockFault> {
        let now = Instant::now();
        self.pending
            .retain(|pending| pending.left != Some(0) && pending.until.is_none_or(|until| now < until));
        let pending = self.pending.iter_mut().find(|pending| applies(pending))?;
        pending.left = pending.left.map(|left| left.saturating_sub(1));
        Some(pending.fault.clone())
    }
}

impl Pending {
    fn is_at_accept(&self) -> bool {
        matches!(self.fault, MockFault::Reset { after: ResetAfter::Accept })
    }
}

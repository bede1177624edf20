//! One error type for a call: what happened, where, after which attempts, and whether it may have been billed.
//!
//! Messages are for people. They hold no key, no prompt and no text of a provider, which might repeat either; what
//! a provider said is in the body of [`Kind::Api`].

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::policy::money::Standing;
use crate::protocol::openai::{ErrorClass, ErrorFields};

/// An error of a call. One pointer wide, since results travel by it.
#[derive(Debug, Clone)]
pub struct Error(Box<Details>);

/// What an error knows.
#[derive(Debug, Clone)]
pub struct Details {
    pub kind: Kind,
    pub message: String,
    pub provider: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub request_id: Option<String>,
    pub attempts: Vec<Attempt>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    pub billed: Billed,
    /// Messages of hyper, rustls or the system.
    pub cause: Option<String>,
    /// Of a fetch: the code by which Node's own fetch tells of it.
    pub node_code: Option<&'static str>,
    /// What is known of the call, as JSON, for whoever asked for it.
    pub meta: Option<String>,
}

/// What happened. Its `Debug` holds no text of a provider, as a log is where it would end.
#[derive(Clone)]
pub enum Kind {
    /// The caller's input.
    Config,
    /// An answer that is an error.
    Api(Box<Api>),
    Connection(ConnectionPhase),
    Timeout {
        phase: TimeoutPhase,
        limit_ms: u64,
    },
    /// A stream broke after pieces of it were handed over; `partial` is a `chat.completion` as JSON. `body`: the provider's own
    /// error, if that is what ended it.
    StreamInterrupted {
        partial: String,
        body: Option<String>,
    },
    /// An answer that is none: no JSON, too large, cut, of the wrong type.
    InvalidResponse,
    QueueFull,
    /// The provider has failed so often that it is left alone for a while.
    CircuitOpen {
        retry_after_ms: u64,
    },
    /// Only an answer that is kept was wanted, and none is.
    NotCached,
    /// More would be spent than may be. `asked`: what the call was reckoned at, in the limit's unit.
    BudgetExceeded {
        standing: Box<Standing>,
        asked: f64,
    },
    /// What processes share cannot be asked for.
    Shared,
    Closed,
    /// A job as a whole: its files, most of all. `reason`: a stable word for it.
    Job {
        reason: &'static str,
    },
    /// A cassette has no recording of a request. `details`: which file, what was asked and what comes nearest, as JSON.
    CassetteMiss {
        details: String,
    },
    /// A function of the caller's that is called around attempts.
    Hook,
    /// A bug of ours.
    Internal,
}

/// What an error answer said.
#[derive(Clone)]
pub struct Api {
    pub class: ErrorClass,
    /// Of the answer; of an error inside a good one, what it names or stands for.
    pub status: u16,
    pub headers: HeaderMap,
    pub fields: ErrorFields,
    /// As it came; JSON where it is JSON.
    pub body: String,
    pub retry_after_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionPhase {
    Dns,
    Connect,
    Tls,
    Proxy,
    Receive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutPhase {
    Connect,
    Queue,
    FirstByte,
    Idle,
    Total,
}

/// Whether the provider has charged for an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Billed {
    Yes,
    No,
    Maybe,
}

/// One try of a call.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    pub provider: Arc<str>,
    pub model: Arc<str>,
    pub status: Option<u16>,
    /// The code of what went wrong.
    pub error: Option<&'static str>,
    #[serde(serialize_with = "as_micros")]
    pub duration: Duration,
    pub billed: Billed,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            message: message.into(),
            provider: None,
            model: None,
            request_id: None,
            attempts: Vec::new(),
            retryable: false,
            billed: Billed::No,
            cause: None,
            node_code: None,
            meta: None,
        }))
    }

    /// Bad input; the message begins with the path of the option.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    pub fn closed() -> Self {
        Self::new(Kind::Closed, "the client is closed")
    }

    /// The message with the name of whom it is of before it.
    #[must_use]
    pub fn of_provider(mut self, name: &str) -> Self {
        self.message = match &self.kind {
            // These begin with the path of an option, or are nobody's.
            Kind::Config | Kind::Closed | Kind::Hook | Kind::Job { .. } | Kind::CassetteMiss { .. } => {
                return self;
            }
            Kind::Api(_) => format!("{name} {}", self.message),
            _ => format!("{name}: {}", self.message),
        };
        self
    }

    #[must_use]
    pub fn caused_by(mut self, cause: Option<String>) -> Self {
        self.cause = cause;
        self
    }

    /// A stable name: the class of JavaScript's error, and its `code`.
    pub fn name_and_code(&self) -> (&'static str, &'static str) {
        match &self.kind {
            Kind::Config => ("ConfigError", "ERR_CONFIG"),
            Kind::Api(api) => match api.class {
                ErrorClass::BadRequest => ("BadRequestError", "ERR_BAD_REQUEST"),
                ErrorClass::ContextLength => ("ContextLengthError", "ERR_CONTEXT_LENGTH"),
                ErrorClass::ContentFilter => ("ContentFilterError", "ERR_CONTENT_FILTER"),
                ErrorClass::Authentication => ("AuthenticationError", "ERR_AUTHENTICATION"),
                ErrorClass::PermissionDenied => ("PermissionDeniedError", "ERR_PERMISSION_DENIED"),
                ErrorClass::NotFound => ("NotFoundError", "ERR_NOT_FOUND"),
                ErrorClass::Conflict => ("ConflictError", "ERR_CONFLICT"),
                ErrorClass::UnprocessableEntity => ("UnprocessableEntityError", "ERR_UNPROCESSABLE_ENTITY"),
                ErrorClass::RateLimit { .. } => ("RateLimitError", "ERR_RATE_LIMIT"),
                ErrorClass::InternalServer => ("InternalServerError", "ERR_INTERNAL_SERVER"),
                ErrorClass::Other => ("APIError", "ERR_API"),
            },
            Kind::Connection(_) => ("ConnectionError", "ERR_CONNECTION"),
            Kind::Timeout { .. } => ("TimeoutError", "ERR_TIMEOUT"),
            Kind::StreamInterrupted { .. } => ("StreamInterruptedError", "ERR_STREAM_INTERRUPTED"),
            Kind::InvalidResponse => ("InvalidResponseError", "ERR_INVALID_RESPONSE"),
            Kind::QueueFull => ("QueueFullError", "ERR_QUEUE_FULL"),
            Kind::CircuitOpen { .. } => ("CircuitOpenError", "ERR_CIRCUIT_OPEN"),
            Kind::NotCached => ("NotCachedError", "ERR_NOT_CACHED"),
            Kind::BudgetExceeded { .. } => ("BudgetExceededError", "ERR_BUDGET_EXCEEDED"),
            Kind::Shared => ("SharedStateError", "ERR_SHARED"),
            Kind::Closed => ("ClosedError", "ERR_CLOSED"),
            Kind::Job { .. } => ("JobError", "ERR_JOB"),
            Kind::CassetteMiss { .. } => ("CassetteMissError", "ERR_CASSETTE_MISS"),
            Kind::Hook => ("HookError", "ERR_HOOK"),
            Kind::Internal => ("TrunklineError", "ERR_INTERNAL"),
        }
    }

    /// The error as the text that crosses the border.
    pub fn to_json(&self) -> String {
        // A type of strings and numbers always has a text.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Deref for Error {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl ConnectionPhase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Receive => "receive",
        }
    }
}

impl TimeoutPhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Queue => "queue",
            Self::FirstByte => "firstByte",
            Self::Idle => "idle",
            Self::Total => "total",
        }
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, code) = self.name_and_code();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", name)?;
        map.serialize_entry("code", code)?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("provider", &self.provider)?;
        map.serialize_entry("model", &self.model)?;
        map.serialize_entry("requestId", &self.request_id)?;
        map.serialize_entry("attempts", &self.attempts)?;
        map.serialize_entry("retryable", &self.retryable)?;
        map.serialize_entry("billed", &self.billed)?;
        map.serialize_entry("cause", &self.cause)?;
        if let Some(code) = self.node_code {
            map.serialize_entry("nodeCode", code)?;
        }
        if let Some(meta) = &self.meta {
            map.serialize_entry("meta", meta)?;
        }
        match &self.kind {
            Kind::Api(api) => {
                map.serialize_entry("status", &api.status)?;
                map.serialize_entry("headers", &header_pairs(&api.headers))?;
                map.serialize_entry("type", &api.fields.kind)?;
                map.serialize_entry("param", &api.fields.param)?;
                map.serialize_entry("body", &api.body)?;
                map.serialize_entry("retryAfter", &api.retry_after_ms)?;
            }
            Kind::Connection(phase) => map.serialize_entry("phase", phase.as_str())?,
            Kind::Timeout { phase, limit_ms } => {
                map.serialize_entry("phase", phase.as_str())?;
                map.serialize_entry("limit", limit_ms)?;
            }
            Kind::StreamInterrupted { partial, body } => {
                map.serialize_entry("partial", partial)?;
                map.serialize_entry("body", body)?;
            }
            Kind::CircuitOpen { retry_after_ms } => map.serialize_entry("retryAfter", retry_after_ms)?,
            Kind::Job { reason } => map.serialize_entry("reason", reason)?,
            Kind::CassetteMiss { details } => map.serialize_entry("details", details)?,
            Kind::BudgetExceeded { standing, asked } => {
                map.serialize_entry("budget", standing)?;
                map.serialize_entry("asked", asked)?;
            }
            _ => {}
        }
        map.end()
    }
}

/// Whole milliseconds, as limits and waits are told.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Times cross in whole microseconds, which cost less to write than fractions; JavaScript makes milliseconds of those that
/// anyone reads.
pub fn as_micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Headers as pairs, in their order; bytes beyond ASCII as Latin-1, as `Headers` has them.
pub fn header_pairs(headers: &HeaderMap) -> Vec<(&str, Cow<'_, str>)> {
    headers.iter().map(|(name, value)| (name.as_str(), header_text(value))).collect()
}

pub fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    match value.to_str() {
        Ok(ascii) => Cow::Borrowed(ascii),
        Err(_) => Cow::Owned(value.as_bytes().iter().map(|&byte| char::from(byte)).collect()),
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config => f.write_str("Config"),
            Self::Api(api) => api.fmt(f),
            Self::Connection(phase) => f.debug_tuple("Connection").field(phase).finish(),
            Self::Timeout { phase, limit_ms } => {
                f.debug_struct("Timeout").field("phase", phase).field("limit_ms", limit_ms).finish()
            }
            Self::StreamInterrupted { .. } => f.debug_struct("StreamInterrupted").finish_non_exhaustive(),
            Self::InvalidResponse => f.write_str("InvalidResponse"),
            Self::QueueFull => f.write_str("QueueFull"),
            Self::CircuitOpen { retry_after_ms } => {
                f.debug_struct("CircuitOpen").field("retry_after_ms", retry_after_ms).finish()
            }
            Self::NotCached => f.write_str("NotCached"),
            Self::BudgetExceeded { standing, .. } => standing.fmt(f),
            Self::Shared => f.write_str("Shared"),
            Self::Closed => f.write_str("Closed"),
            Self::Job { reason } => f.debug_struct("Job").field("reason", reason).finish(),
            Self::CassetteMiss { .. } => f.debug_struct("CassetteMiss").finish_non_exhaustive(),
            Self::Hook => f.write_str("Hook"),
            Self::Internal => f.write_str("Internal"),
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("class", &self.class)
            .field("status", &self.status)
            .field("retry_after_ms", &self.retry_after_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

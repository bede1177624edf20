//! Why a request is turned away, before each protocol says it in its own words.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

#[derive(Debug, Clone)]
pub(super) enum Refusal {
    /// What a provider usually says with this status.
    Status(StatusCode),
    /// No such method and path.
    NoSuchPath(String),
    Unreadable(String),
    Invalid(Invalid),
    /// More tokens than the model takes.
    TooLong {
        tokens: u64,
        most: u64,
    },
    /// The last message is the assistant's, and the model does not go on with it.
    Prefill,
    NoKey,
    /// One that is not known, or was revoked.
    BadKey,
    Limited {
        wait: Duration,
        fields: Vec<(HeaderName, HeaderValue)>,
    },
}

/// A request that means nothing to the provider.
#[derive(Debug, Clone)]
pub(super) struct Invalid {
    pub(super) message: String,
    /// Where, for those that say it apart: the field and what is wrong with it.
    pub(super) fields: Vec<(Option<String>, String)>,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::Invalid(Invalid { message, fields: Vec::new() })
    }
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self::Status(status)
    }
}

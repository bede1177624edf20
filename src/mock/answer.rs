//! An answer before anybody decided how it goes over the wire: what is said, in the pieces that faults and
//! pacing cut along.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::shapes::Headers;

/// What a piece of a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A body, or a part of one, that is no event stream.
    Whole,
    /// Says nothing yet: a role, the beginning or the end of a block, a ping.
    Role,
    Token,
    Finish,
    Usage,
    Done,
}

/// A body rendered beforehand; cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) bytes: Bytes,
    /// Where each event ends, and what it is. Empty for a body that is no event stream.
    pub(super) events: Arc<[(usize, Kind)]>,
    /// Tokens that it says were generated.
    pub(super) tokens: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: HeaderValue,
    /// Beside the content type, or in place of it.
    pub(super) headers: Headers,
    pub(super) body: Rendered,
    /// What differs from request to request comes last, so that the rest can be rendered beforehand.
    pub(super) tail: Vec<(Kind, Bytes)>,
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

impl Rendered {
    pub(super) fn whole(bytes: impl Into<Bytes>, tokens: u64) -> Self {
        Self { bytes: bytes.into(), events: Arc::new([]), tokens }
    }
}

impl Answer {
    pub(super) fn new(content_type: HeaderValue, body: Rendered) -> Self {
        Self { status: StatusCode::OK, content_type, headers: Headers::default(), body, tail: Vec::new() }
    }

    pub(super) fn json(status: StatusCode, text: String) -> Self {
        Self { status, ..Self::new(JSON, Rendered::whole(text, 0)) }
    }

    /// Whether the body comes as events, of no length that is known before.
    pub(super) fn is_stream(&self) -> bool {
        !self.body.events.is_empty()
    }
}

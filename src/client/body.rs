//! The body of an answer, wherever it comes from.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::cassette::{Recorded, Replay};
use super::exchange::{Failed, failed, pool_failed};
use crate::error::Error;
use crate::policy::judge::Failure;
use crate::pool;

/// See the module.
#[derive(Debug)]
pub(super) enum Body {
    Live(pool::Body),
    /// From a connection, and into a cassette.
    Recorded(Box<Recorded>),
    /// From a cassette.
    Replayed(Box<Replay>),
}

/// Why there is no more of a body.
#[derive(Debug)]
pub(super) enum BodyError {
    Pool(pool::Error),
    /// It could not be recorded, or not wholly replayed.
    Cassette(Error),
}

impl Body {
    /// Whether its end is to be waited for: what is recorded is in the file by then.
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self, Self::Recorded(_))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Live(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Pool),
            Self::Recorded(body) => body.poll_frame(cx),
            Self::Replayed(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Live(body) => body.is_end_stream(),
            Self::Recorded(body) => body.is_end_stream(),
            Self::Replayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Live(body) => body.size_hint(),
            Self::Recorded(body) => body.size_hint(),
            Self::Replayed(body) => body.size_hint(),
        }
    }
}

impl BodyError {
    /// What it means for an attempt. To ask again helps a cassette as little as its reader.
    pub(super) fn failed(self) -> Failed {
        match self {
            Self::Pool(error) => pool_failed(&error),
            Self::Cassette(error) => failed(Failure::Final, error),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Cassette(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Pool(error) => error.source(),
            Self::Cassette(_) => None,
        }
    }
}

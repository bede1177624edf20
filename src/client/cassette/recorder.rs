//! The body of an answer, on its way into a file.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::content::Content;
use super::file::Answer;
use super::redact::{Redact, without};
use super::tape::{Recording, Saving};
use crate::client::body::BodyError;
use crate::config::Hidden;
use crate::error::{Error, header_text};
use crate::pool;

/// A longer answer is not for a file that people read: 64 MiB.
const LONGEST: usize = 64 * 1024 * 1024;

/// What becomes a recording.
pub(in crate::client) struct Recorder {
    /// None once it is made.
    recording: Option<Recording>,
    redact: Redact,
    secrets: Hidden<Vec<Vec<u8>>>,
    head: Option<(StatusCode, BTreeMap<String, Vec<String>>)>,
    is_stream: bool,
    pieces: Vec<Bytes>,
    size: usize,
}

/// A body whose bytes are recorded as they are read. It ends when the recording is made; left before its end, a stream of events is
/// recorded as far as it came, and anything else not at all.
pub(in crate::client) struct Recorded {
    body: pool::Body,
    recorder: Box<Recorder>,
    /// From the end of the body until the recording is written.
    saving: Option<Saving>,
}

impl Recorder {
    pub(super) fn new(recording: Recording, redact: Redact, secrets: Hidden<Vec<Vec<u8>>>) -> Self {
        Self {
            recording: Some(recording),
            redact,
            secrets,
            head: None,
            is_stream: false,
            pieces: Vec::new(),
            size: 0,
        }
    }

    /// The head has come.
    pub(in crate::client) fn record(
        mut self: Box<Self>,
        status: StatusCode,
        headers: &HeaderMap,
        body: pool::Body,
    ) -> Result<Recorded, Error> {
        let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            let value = header_text(value);
            let value = String::from_utf8_lossy(&without(value.as_bytes(), &self.secrets)).into_owned();
            if let Some(value) = self.redact.header(name, &value) {
                written.entry(name.as_str().to_owned()).or_default().push(value);
            }
        }
        let media_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
        self.is_stream = media_type.is_some_and(|value| value.starts_with(b"text/event-stream"));
        self.head = Some((status, written));
        let saving = if body.is_end_stream() { self.finish(false)? } else { None };
        Ok(Recorded { body, recorder: self, saving })
    }

    fn take(&mut self, piece: &Bytes) -> Result<(), Error> {
        self.size += piece.len();
        if self.size > LONGEST {
            self.recording = None;
            return Err(Error::config("cassette: an answer of more than 64 MiB is not recorded"));
        }
        if !piece.is_empty() {
            self.pieces.push(piece.clone());
        }
        Ok(())
    }

    fn finish(&mut self, cut: bool) -> Result<Option<Saving>, Error> {
        let (Some(recording), Some((status, headers))) = (self.recording.take(), self.head.take()) else {
            return Ok(None);
        };
        let pieces = std::mem::take(&mut self.pieces);
        let body = match self.is_stream {
            true => Content::of_stream(pieces, &self.redact, &self.secrets),
            false => Content::of(&pieces.concat(), &self.redact, &self.secrets),
        };
        recording.finish(Answer { status, headers, body, cut })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.is_stream && !self.pieces.is_empty() {
            // Its reader has gone; who closes the client is told.
            let _ = self.finish(true);
        }
    }
}

impl Recorded {
    pub(in crate::client) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, recorder, saving } = self;
        if let Some(under_way) = saving {
            let saved = ready!(under_way.as_mut().poll(cx));
            *saving = None;
            return Poll::Ready(saved.err().map(|error| Err(BodyError::Cassette(error))));
        }
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && let Err(error) = recorder.take(data)
                {
                    return Poll::Ready(Some(Err(BodyError::Cassette(error))));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // What broke off is no answer.
                recorder.recording = None;
                Poll::Ready(Some(Err(BodyError::Pool(error))))
            }
            Poll::Ready(None) => match recorder.finish(false) {
                Ok(None) => Poll::Ready(None),
                Ok(under_way) => {
                    *saving = under_way;
                    self.poll_frame(cx)
                }
                Err(error) => Poll::Ready(Some(Err(BodyError::Cassette(error)))),
            },
        }
    }

    /// Whether there is nothing more to read, and nothing to write.
    pub(in crate::client) fn is_end_stream(&self) -> bool {
        self.recorder.recording.is_none() && self.saving.is_none() && self.body.is_end_stream()
    }

    pub(in crate::client) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("body", &self.body).finish_non_exhaustive()
    }
}

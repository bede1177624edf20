//! The body of an answer that comes from a file.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};

use super::content::Content;
use super::file::Answer;
use crate::client::body::BodyError;
use crate::error::{ConnectionPhase, Error, Kind};

/// An answer from a file.
pub(in crate::client) struct Replayed {
    pub(in crate::client) status: StatusCode,
    pub(in crate::client) headers: HeaderMap,
    pub(in crate::client) body: Replay,
}

/// Its body: in the pieces that it came in, without their pauses.
pub(in crate::client) struct Replay {
    pieces: VecDeque<Bytes>,
    left: u64,
    /// Whether others had a turn since the last piece: else a reader would find several at once, and make one of them.
    has_paused: bool,
    is_stream: bool,
    /// Whether its reader had left before its end, which nobody knows.
    is_cut: bool,
}

impl Replayed {
    pub(super) fn of(answer: &Answer) -> Self {
        let pieces: VecDeque<Bytes> = answer.body.pieces().into();
        let left: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let is_stream = matches!(answer.body, Content::Stream(_));
        let mut headers = answer.header_map();
        if !is_stream && left > 0 {
            headers.insert(CONTENT_LENGTH, left.into());
        }
        let body = Replay { pieces, left, has_paused: false, is_stream, is_cut: answer.cut };
        Self { status: answer.status, headers, body }
    }
}

impl Replay {
    pub(in crate::client) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_stream && !std::mem::replace(&mut self.has_paused, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_paused = false;
        match self.pieces.pop_front() {
            Some(piece) => {
                self.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None if std::mem::take(&mut self.is_cut) => {
                let message = "the recording ends here, since its reader had left";
                let error = Error::new(Kind::Connection(ConnectionPhase::Receive), message);
                Poll::Ready(Some(Err(BodyError::Cassette(error))))
            }
            None => Poll::Ready(None),
        }
    }

    pub(in crate::client) fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.is_cut
    }

    pub(in crate::client) fn size_hint(&self) -> SizeHint {
        if self.is_cut { SizeHint::new() } else { SizeHint::with_exact(self.left) }
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("left", &self.left).finish_non_exhaustive()
    }
}

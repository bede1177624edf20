//! The body of an errand, which may be a large file.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::error::{Error, Kind};
use crate::pool::RequestBody;

/// So much of a file is read at a time.
const PIECE: usize = 128 * 1024;

/// The body of an errand.
#[derive(Debug, Clone)]
pub enum Load {
    None,
    Json(String),
    /// A file, with something before it and behind it.
    File {
        content_type: String,
        head: String,
        path: PathBuf,
        bytes: u64,
        tail: String,
    },
}

impl Load {
    /// Gives how many bytes it has.
    pub(super) fn put_into(&self, request: &mut Request<RequestBody>) -> Result<u64, Error> {
        match self {
            Self::None => Ok(0),
            Self::Json(text) => Ok(text.len() as u64),
            Self::File { content_type, head, path, bytes, tail } => {
                let unreadable = |error: io::Error| {
                    Error::new(
                        Kind::Job { reason: "output" },
                        format!("{} cannot be read: {error}", path.display()),
                    )
                };
                let file = File::open(path).map_err(unreadable)?;
                let length = head.len() as u64 + bytes + tail.len() as u64;
                let content_type =
                    HeaderValue::from_str(content_type).map_err(|_| Error::config("a content type"))?;
                request.headers_mut().insert(CONTENT_TYPE, content_type);
                request.headers_mut().insert(CONTENT_LENGTH, length.into());
                let feed = Feed::of(head.clone().into(), file.take(*bytes), tail.clone().into(), length);
                *request.body_mut() = RequestBody::Pieces(Box::pin(feed));
                Ok(length)
            }
        }
    }
}

/// A file that is read as fast as it is sent. Where it cannot be read any more, it ends too early, which the length that was promised tells.
struct Feed {
    pieces: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Feed {
    fn of(head: Bytes, mut file: impl Read + Send + 'static, tail: Bytes, length: u64) -> Self {
        let (sender, pieces) = mpsc::channel(2);
        // It ends when nobody takes its pieces any more.
        tokio::task::spawn_blocking(move || {
            if sender.blocking_send(head).is_err() {
                return;
            }
            loop {
                let mut piece = vec![0; PIECE];
                match file.read(&mut piece) {
                    Ok(0) => break,
                    Ok(read) => {
                        piece.truncate(read);
                        if sender.blocking_send(piece.into()).is_err() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
            let _ = sender.blocking_send(tail);
        });
        Self { pieces, left: length }
    }
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            Some(Ok(Frame::data(piece)))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

//! The body of a request that comes piece by piece: one is asked for when the connection has room for it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;

/// Between the source of a body and its connection. It holds one piece at most, if its source gives none unasked.
pub struct Upload {
    state: Mutex<State>,
    ask: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    has_ended: bool,
    /// Whether anything was asked for, and of that something that has not come yet.
    has_begun: bool,
    is_asked: bool,
    waker: Option<Waker>,
}

impl Upload {
    /// `ask` is called whenever a further piece is wanted.
    pub fn new(ask: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { state: Mutex::default(), ask }
    }

    /// The next piece; None is the end.
    pub fn give(&self, piece: Option<Bytes>) {
        let waker = {
            let mut state = self.state.lock();
            state.is_asked = false;
            match piece {
                Some(piece) => state.pieces.push_back(piece),
                None => state.has_ended = true,
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether something was asked for: then it cannot be sent from its beginning again.
    pub(super) fn has_begun(&self) -> bool {
        self.state.lock().has_begun
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.lock().fmt(f)
    }
}

/// What the connection reads.
pub(super) struct Uploading(pub(super) Arc<Upload>);

impl Body for Uploading {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let asks = {
            let mut state = self.0.state.lock();
            state.has_begun = true;
            if let Some(piece) = state.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if state.has_ended {
                return Poll::Ready(None);
            }
            state.waker = Some(cx.waker().clone());
            !std::mem::replace(&mut state.is_asked, true)
        };
        if asks {
            (self.0.ask)();
        }
        Poll::Pending
    }
}

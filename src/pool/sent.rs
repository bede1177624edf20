//! The body of a request on its way, which tells whether anything of it was taken.
//!
//! hyper gives a message back only if it never took it. What h2 refuses then, or what waits to be opened while its connection dies,
//! fails like a request that was lost; but a request of whose body nothing was ever asked for is not whole, so nobody can have
//! processed it. For the same reason it can be called back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::RequestBody;

#[derive(Debug)]
pub(super) struct SentBody {
    body: RequestBody,
    fate: Arc<AtomicU8>,
}

/// Knows what became of a request's body.
#[derive(Debug)]
pub(super) struct Fate(Arc<AtomicU8>);

/// Nothing was asked for yet.
const OPEN: u8 = 0;
/// The request can have been whole when it left.
const TAKEN: u8 = 1;
/// It never will be.
const CALLED_BACK: u8 = 2;

impl SentBody {
    pub(super) fn new(body: RequestBody) -> (Self, Fate) {
        // A request without a body is whole with its head.
        let fate = Arc::new(AtomicU8::new(if body.is_end_stream() { TAKEN } else { OPEN }));
        (Self { body, fate: fate.clone() }, Fate(fate))
    }
}

impl Fate {
    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire) == TAKEN
    }

    /// Whether nothing of the body was taken, and from now on nothing will be.
    pub(super) fn call_back(&self) -> bool {
        decide(&self.0, CALLED_BACK) == CALLED_BACK
    }
}

/// Decides a fate, unless it is decided already, and tells what it is.
fn decide(fate: &AtomicU8, wanted: u8) -> u8 {
    match fate.compare_exchange(OPEN, wanted, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => wanted,
        Err(decided) => decided,
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = CalledBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CalledBack>>> {
        if decide(&self.fate, TAKEN) == CALLED_BACK {
            return Poll::Ready(Some(Err(CalledBack)));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a body gives nothing.
#[derive(Debug)]
pub(super) struct CalledBack;

impl fmt::Display for CalledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was called back")
    }
}

impl std::error::Error for CalledBack {}

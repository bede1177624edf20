//! The body of a request on its way, which tells whether anything of it was taken.
//!
//! hyper gives a message back only if it never took it. What h2 refuses then, or what waits to be opened while its connection dies,
//! fails like a request that was lost; but a request of whose body nothing was ever asked for is not whole, so nobody can have
//! processed it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::RequestBody;

#[derive(Debug)]
pub(super) struct SentBody {
    body: RequestBody,
    taken: Arc<AtomicBool>,
}

/// Knows whether its request can have been whole when it left.
#[derive(Debug)]
pub(super) struct Taken(Arc<AtomicBool>);

impl SentBody {
    pub(super) fn new(body: RequestBody) -> (Self, Taken) {
        // A request without a body is whole with its head.
        let taken = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, taken: taken.clone() }, Taken(taken))
    }
}

impl Taken {
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.taken.store(true, Ordering::Release);
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The body of a request on its way, which tells whether anything of it was taken.
//!
//! hyper gives a message back only if it never took it. What h2 refuses then, or what waits to be opened while its connection dies,
//! fails like a request that was lost; but a request of whose body nothing was ever asked for is not whole, so nobody can have
//! processed it. For the same reason it can be called back.
//!
//! # in two
//! hyper asks for a body as soon as it has handed the head to h2, which may hold the stream back until the server takes one more: that
//! can be as long as another answer lasts. But it holds one piece alone until the stream is open, and asks for the next one then. So a
//! request that may be called back is given in two pieces, the first of one byte: whoever asks for the second has a stream.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::sync::{Arc, AtomicU8, Ordering};

/// The body of a request.
pub enum RequestBody {
    /// There from the start, so that it can be sent again.
    Whole(Bytes),
    /// Comes piece by piece, once.
    Pieces(Pieces),
}

/// What comes piece by piece. It never fails: whoever cannot go on gives the request up.
pub type Pieces = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// Small, since hyper moves requests by value some ten times.
pub(super) struct SentBody {
    sent: Arc<Sent>,
    given: Given,
    /// Boxed twice, since most have none.
    pieces: Option<Box<Pieces>>,
}

/// What hyper has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    /// The same; next it gets the first byte alone.
    NothingInTwo,
    FirstByte,
    All,
}

/// Knows what became of a request's body.
#[derive(Debug)]
pub(super) struct Fate(Arc<Sent>);

#[derive(Debug)]
struct Sent {
    /// Empty where it comes in pieces.
    body: Bytes,
    fate: AtomicU8,
}

/// Nothing was asked for yet.
const OPEN: u8 = 0;
/// The request can have been whole when it left.
const TAKEN: u8 = 1;
/// It never will be.
const CALLED_BACK: u8 = 2;

impl SentBody {
    pub(super) fn new(body: RequestBody) -> (Self, Fate) {
        let (body, pieces) = match body {
            RequestBody::Whole(body) => (body, None),
            RequestBody::Pieces(pieces) => (Bytes::new(), Some(Box::new(pieces))),
        };
        // A request without a body is whole with its head.
        let (given, fate) = match body.is_empty() && pieces.is_none() {
            true => (Given::All, TAKEN),
            false => (Given::Nothing, OPEN),
        };
        let sent = Arc::new(Sent { body, fate: AtomicU8::new(fate) });
        (Self { sent: sent.clone(), given, pieces }, Fate(sent))
    }

    /// A body that is there from the start is not taken before its stream is open.
    pub(super) fn in_two(mut self) -> Self {
        if self.given == Given::Nothing && self.pieces.is_none() {
            self.given = Given::NothingInTwo;
        }
        self
    }

    pub(super) fn is_in_two(&self) -> bool {
        self.given == Given::NothingInTwo
    }
}

impl Fate {
    pub(super) fn is_taken(&self) -> bool {
        self.0.fate.load(Ordering::Acquire) == TAKEN
    }

    /// Whether nothing of the body was taken, and from now on nothing will be.
    pub(super) fn call_back(&self) -> bool {
        self.0.decide(CALLED_BACK) == CALLED_BACK
    }
}

impl Sent {
    fn is_called_back(&self) -> bool {
        self.fate.load(Ordering::Acquire) == CALLED_BACK
    }

    /// Decides the fate, unless it is decided already, and tells what it is.
    fn decide(&self, wanted: u8) -> u8 {
        match self.fate.compare_exchange(OPEN, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => wanted,
            Err(decided) => decided,
        }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = CalledBack;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CalledBack>>> {
        let is_called_back = match self.given {
            Given::All => return Poll::Ready(None),
            Given::NothingInTwo => self.sent.is_called_back(),
            Given::Nothing | Given::FirstByte => self.sent.decide(TAKEN) == CALLED_BACK,
        };
        if is_called_back {
            return Poll::Ready(Some(Err(CalledBack)));
        }
        if let Some(pieces) = &mut self.pieces {
            let polled = Pin::new(&mut **pieces).poll_frame(cx);
            if let Poll::Ready(None) = polled {
                self.given = Given::All;
            }
            return polled.map_err(|never| match never {});
        }
        let body = &self.sent.body;
        let (piece, given) = match self.given {
            Given::NothingInTwo => (body.slice(..1), Given::FirstByte),
            Given::FirstByte => (body.slice(1..), Given::All),
            Given::Nothing | Given::All => (body.clone(), Given::All),
        };
        self.given = given;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.given == Given::All
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(pieces) = &self.pieces
            && self.given != Given::All
        {
            return pieces.size_hint();
        }
        let left = match self.given {
            Given::Nothing | Given::NothingInTwo => self.sent.body.len(),
            Given::FirstByte => self.sent.body.len() - 1,
            Given::All => 0,
        };
        SizeHint::with_exact(left as u64)
    }
}

impl fmt::Debug for SentBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentBody").field("given", &self.given).finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(body) => write!(f, "{} bytes", body.len()),
            Self::Pieces(_) => f.write_str("pieces"),
        }
    }
}

/// None.
impl Default for RequestBody {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl From<Bytes> for RequestBody {
    fn from(body: Bytes) -> Self {
        Self::Whole(body)
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

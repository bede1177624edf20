//! What decides without a lock, in every order that threads can run in. Each part is the pool's own file; only its atomics are loom's.
#![cfg(test)]
#![expect(unreachable_pub, reason = "the pool re-exports it")]

mod sync {
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
}

#[path = "../../../src/pool/sent.rs"]
#[allow(dead_code, reason = "what a lease asks of it decides nothing here")]
mod sent;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use loom::thread;
use sent::{RequestBody, SentBody};

/// What hyper gets of a body when it asks for all of it.
fn drained(mut body: SentBody) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => all.extend(frame.into_data().into_iter().flatten()),
            Poll::Ready(Some(Err(_))) => return None,
            Poll::Ready(None) => return Some(all),
            Poll::Pending => unreachable!("a body that is there is there"),
        }
    }
}

#[test]
fn a_request_is_called_back_or_leaves_and_never_both() {
    loom::model(|| {
        let (body, fate) = SentBody::new(RequestBody::Whole(Bytes::from_static(b"question")));
        let hyper = thread::spawn(move || drained(body));
        let called_back = fate.call_back();
        let taken_then = fate.is_taken();
        let left = hyper.join().unwrap_or_default();
        assert_eq!(called_back, left.is_none());
        assert!(!(called_back && fate.is_taken()));
        // Who was told that it has left is right, and stays so.
        assert!(!taken_then || left.as_deref() == Some(b"question"));
        assert_eq!(fate.call_back(), called_back);
    });
}

#[test]
fn a_request_in_two_leaves_with_its_second_piece_or_is_called_back_before() {
    loom::model(|| {
        let (body, fate) = SentBody::new(RequestBody::Whole(Bytes::from_static(b"question")));
        let mut body = body.in_two();
        let first = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(
            matches!(first, Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| data == "q"))
        );
        assert!(!fate.is_taken() && !body.is_end_stream() && body.size_hint().exact() == Some(7));
        let hyper = thread::spawn(move || drained(body));
        let called_back = fate.call_back();
        let left = hyper.join().unwrap_or_default();
        assert_eq!(left.as_deref(), (!called_back).then_some(&b"uestion"[..]));
        assert_eq!(fate.is_taken(), !called_back);
    });
}

/// A body that comes piece by piece.
struct InPieces(Vec<&'static [u8]>);

impl Body for InPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
    }
}

#[test]
fn a_request_in_pieces_leaves_with_its_first_piece_or_is_called_back_before() {
    loom::model(|| {
        let pieces = InPieces(vec![b"ion", b"quest"]);
        let (body, fate) = SentBody::new(RequestBody::Pieces(Box::pin(pieces)));
        let hyper = thread::spawn(move || drained(body));
        let called_back = fate.call_back();
        let left = hyper.join().unwrap_or_default();
        assert_eq!(left.as_deref(), (!called_back).then_some(&b"question"[..]));
        assert_eq!(fate.is_taken(), !called_back);
    });
}

#[test]
fn whoever_waits_twice_is_told_the_same() {
    loom::model(|| {
        let (body, fate) = SentBody::new(RequestBody::Whole(Bytes::from_static(b"question")));
        let fate = loom::sync::Arc::new(fate);
        let other = fate.clone();
        let hyper = thread::spawn(move || drop(drained(body)));
        let second = thread::spawn(move || other.call_back());
        let first = fate.call_back();
        assert_eq!(second.join().unwrap_or(!first), first);
        assert!(hyper.join().is_ok());
    });
}

#[test]
fn a_request_without_a_body_is_whole_with_its_head() {
    loom::model(|| {
        let (body, fate) = SentBody::new(RequestBody::Whole(Bytes::new()));
        assert!(fate.is_taken() && !fate.call_back());
        assert_eq!(drained(body), Some(Vec::new()));
    });
}

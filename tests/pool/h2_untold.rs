//! Requests that are on their way to a server before it has said how few streams it takes.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use crate::support::frames::{DATA, END_STREAM, HEADERS, Peer, REFUSED_STREAM, RST_STREAM};
use crate::support::*;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinHandle;
use trunkline::pool::{Error, Kind, Pool, Protocol, RequestBody, Tasks};

const SITE: &str = "https://a.test";
const STREAMS: u32 = 2;

/// What servers of two streams each have seen. They answer nobody before they are told to.
#[derive(Default)]
struct Seen {
    /// Requests that came whole, and were not reset.
    held: AtomicUsize,
    refused: AtomicUsize,
    reset: AtomicUsize,
    answers: AtomicBool,
    answering: tokio::sync::Notify,
}

/// Serves two streams at a time, and refuses those beyond.
async fn serve(mut peer: Peer, seen: Arc<Seen>) {
    let (mut open, mut held) = (HashSet::new(), HashSet::new());
    loop {
        let answering = seen.answering.notified();
        if seen.answers.load(Ordering::SeqCst) {
            for stream in held.drain() {
                open.remove(&stream);
                peer.answer(stream);
            }
        }
        let frame = tokio::select! {
            frame = peer.frames.recv() => frame,
            () = answering => continue,
        };
        let Some(frame) = frame else { return };
        let stream = frame.stream;
        match frame.kind {
            HEADERS if open.len() == STREAMS as usize => {
                seen.refused.fetch_add(1, Ordering::SeqCst);
                peer.reset(stream, REFUSED_STREAM);
            }
            HEADERS => {
                open.insert(stream);
            }
            RST_STREAM if open.remove(&stream) => {
                seen.reset.fetch_add(1, Ordering::SeqCst);
                if held.remove(&stream) {
                    seen.held.fetch_sub(1, Ordering::SeqCst);
                }
            }
            _ => {}
        }
        let is_last = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
        if is_last && open.contains(&stream) && held.insert(stream) {
            seen.held.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A pool over such servers; the first of them is slow to say what it takes: so many turns of the runtime.
fn pool_over(seen: &Arc<Seen>, turns: usize) -> (Pool, Arc<Net>, Tasks) {
    let seen = seen.clone();
    let net = Net::new(move |_, number| {
        let seen = seen.clone();
        Plan::Raw(
            Protocol::H2,
            Box::new(move |end| {
                let peer = Peer::start(end);
                tokio::spawn(async move {
                    for _ in 0..if number == 0 { turns } else { 0 } {
                        turn().await;
                    }
                    peer.settings(Some(STREAMS));
                    serve(peer, seen).await;
                });
            }),
        )
    });
    net.pool(config(40, 40))
}

/// Lets those go first who can run already, and no more: tokio's own lets all run that there is.
async fn turn() {
    let mut had = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut had, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The kinds of requests: with a body, with one byte, in pieces, without a body.
fn asks(number: usize) -> Request<RequestBody> {
    let request = Request::builder().uri("https://a.test/");
    let body = match number % 5 {
        0 | 1 => RequestBody::Whole("question".into()),
        2 => RequestBody::Whole("?".into()),
        3 => RequestBody::Pieces(Box::pin(Full::new(Bytes::from_static(b"question")))),
        _ => RequestBody::default(),
    };
    let method = if number % 10 == 4 { Method::GET } else { Method::POST };
    request.method(method).body(body).unwrap()
}

/// Asks until it is answered; what was not processed is asked again.
fn asked(pool: &Pool, number: usize) -> JoinHandle<Result<Bytes, Error>> {
    let pool = pool.clone();
    tokio::spawn(async move {
        loop {
            let lease = lease(&pool, &origin(SITE)).await;
            match lease.send(asks(number)).await {
                Ok(answer) => return Ok(answer.into_body().collect().await?.to_bytes()),
                Err(error) if error.kind() == Kind::Refused => {}
                Err(error) => return Err(error),
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn whenever_a_lower_limit_comes_every_request_is_with_a_server_that_has_room() {
    for calls in [10, 40] {
        // At each step of the way that a burst goes to its first connection.
        for turns in 0..20 {
            burst(calls, turns).await;
        }
    }
}

async fn burst(calls: usize, turns: usize) {
    let seen = Arc::<Seen>::default();
    let (pool, net, tasks) = pool_over(&seen, turns);
    let asked: Vec<_> = (0..calls).map(|number| asked(&pool, number)).collect();
    settle().await;
    let seen_of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    assert_eq!(seen_of(&seen.held), calls, "told after {turns} turns");
    assert_eq!((pool.snapshot().streams.active, waiting(&pool)), (calls, 0));
    assert_eq!(net.connects(), calls / STREAMS as usize);
    // Servers take it for an attack where many streams are opened and reset.
    assert!(seen_of(&seen.refused) + seen_of(&seen.reset) <= 16);
    seen.answers.store(true, Ordering::SeqCst);
    seen.answering.notify_waiters();
    for call in asked {
        call.await.unwrap().unwrap();
    }
    // Nothing is left in h2 that would be opened now.
    assert!(seen_of(&seen.refused) + seen_of(&seen.reset) <= 16);
    whole(&pool, &net).await;
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_said_of_streams_those_beyond_the_first_sixteen_wait_for_the_settings() {
    let (arrived, mut peers) = tokio::sync::mpsc::unbounded_channel();
    let net = Net::new(move |_, _| {
        let arrived = arrived.clone();
        Plan::Raw(Protocol::H2, Box::new(move |end| arrived.send(Peer::start(end)).unwrap()))
    });
    let (pool, net, _) = net.pool(config(9, 9));
    let calls: Vec<_> = (0..50).map(|_| call(&pool, "/")).collect();
    let mut peer = peers.recv().await.unwrap();
    let mut running = peer.requests(16).await;
    settle().await;
    assert!(!peer.unread().contains(&HEADERS));
    peer.settings(None);
    running.extend(peer.requests(34).await);
    for stream in running {
        peer.answer(stream);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(net.connects(), 1);
    whole(&pool, &net).await;
}

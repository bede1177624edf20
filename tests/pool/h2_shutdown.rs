//! How we leave an HTTP/2 connection: with a word, after the last stream, and whether or not the server listens.

use std::time::Duration;

use crate::support::frames::{CANCEL, GOAWAY, NO_ERROR, Peer, RST_STREAM, SETTINGS, frame, peers};
use crate::support::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use trunkline::pool::{Config, Kind, Protocol};

const SITE: &str = "https://a.test";

/// What the client says up to the end: the kinds of its frames.
async fn rest(peer: &mut Peer) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(frame) = peer.frames.recv().await {
        if frame.kind == GOAWAY {
            assert_eq!(frame.payload[4..8], NO_ERROR.to_be_bytes());
        }
        kinds.push(frame.kind);
    }
    kinds
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_is_left_with_a_goaway() {
    for why in ["idle", "age", "close", "close idle"] {
        let settings = Config {
            idle_timeout: Duration::from_secs(if why == "idle" { 5 } else { 1000 }),
            max_age: Duration::from_secs(if why == "age" { 5 } else { 1000 }),
            ..config(1, 1)
        };
        let (pool, net, _, mut peers) = peers(Some(100), settings);
        let first = call(&pool, "/");
        let mut peer = peers.recv().await.unwrap();
        let stream = peer.requests(1).await[0];
        peer.answer(stream);
        first.await.unwrap().unwrap();
        settle().await;
        peer.unread();
        match why {
            "close" => pool.close(),
            "close idle" => pool.close_idle(),
            _ => {}
        }
        let said = rest(&mut peer).await;
        assert_eq!(said, [GOAWAY], "{why}");
        until("it has gone", || net.open() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_admits_nothing_new_lets_streams_finish_and_then_says_goodbye() {
    let (pool, net, tasks, mut peers) = peers(Some(2), config(1, 1));
    let calls = [call(&pool, "/"), call(&pool, "/")];
    let mut peer = peers.recv().await.unwrap();
    let running = peer.requests(2).await;
    let waiting = call(&pool, "/");
    settle().await;
    pool.close();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), Kind::Closed);
    assert_eq!(call(&pool, "/").await.unwrap().unwrap_err().kind(), Kind::Closed);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let said = peer.unread();
    assert!(!said.contains(&GOAWAY) && !said.contains(&RST_STREAM), "{said:?}");
    peer.answer(running[0]);
    peer.head(running[1]);
    peer.data(running[1], b"the last one");
    settle().await;
    assert!(!peer.unread().contains(&GOAWAY));
    peer.end(running[1]);
    let [first, second] = calls;
    assert_eq!(first.await.unwrap().unwrap(), "");
    assert_eq!(second.await.unwrap().unwrap(), "the last one");
    pool.closed().await;
    assert_eq!(rest(&mut peer).await, [GOAWAY]);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_resets_what_is_dropped_after_it_and_then_says_goodbye() {
    let (pool, net, tasks, mut peers) = peers(Some(2), config(1, 1));
    let calls = [call(&pool, "/"), call(&pool, "/")];
    let mut peer = peers.recv().await.unwrap();
    peer.requests(2).await;
    pool.close();
    settle().await;
    peer.unread();
    for call in calls {
        call.abort();
    }
    pool.closed().await;
    assert_eq!(rest(&mut peer).await, [RST_STREAM, RST_STREAM, GOAWAY]);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_a_stream_resets_it_exactly_once() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let neighbour = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let kept = peer.requests(1).await[0];
    for half_way in [false, true] {
        let lease = lease(&pool, &origin(SITE)).await;
        let request = request(&lease, "/");
        let sending = tokio::spawn(lease.send(request));
        let stream = peer.requests(1).await[0];
        settle().await;
        peer.unread();
        if half_way {
            peer.head(stream);
            peer.data(stream, b"piece");
            let mut body = sending.await.unwrap().unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            drop(body);
        } else {
            sending.abort();
        }
        let reset = peer.next(RST_STREAM).await;
        assert_eq!((reset.stream, reset.payload), (stream, CANCEL.to_be_bytes().to_vec()));
        // Its server has not heard of it, and goes on.
        if !half_way {
            peer.head(stream);
        }
        peer.data(stream, b"too late");
        peer.end(stream);
        settle().await;
        let said = peer.unread();
        assert!(!said.contains(&RST_STREAM) && !said.contains(&GOAWAY), "{half_way} {said:?}");
    }
    peer.answer(kept);
    neighbour.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_by_the_server_is_of_one_stream_whatever_its_code() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let neighbour = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let kept = peer.requests(1).await[0];
    // NO_ERROR to HTTP_1_1_REQUIRED, and one that nobody knows.
    for code in (0..=13).chain([0xdead_beef]) {
        let running = call(&pool, "/");
        let stream = peer.requests(1).await[0];
        peer.reset(stream, code);
        let kind = running.await.unwrap().unwrap_err().kind();
        let refused = code == 7;
        // However often it has served: it is not the connection that was being closed.
        let expected = if refused { Kind::Unprocessed } else { Kind::NoResponse { reused: false } };
        assert_eq!(kind, expected, "{code}");
        // After the head it is a body cut short, refused or not.
        let running = call(&pool, "/");
        let stream = peer.requests(1).await[0];
        peer.head(stream);
        peer.data(stream, b"half");
        peer.reset(stream, code);
        assert_eq!(running.await.unwrap().unwrap_err().kind(), Kind::Body, "{code}");
    }
    // A whole answer is none the worse for a reset that says that the question need not be sent to its end.
    let running = call(&pool, "/");
    let stream = peer.requests(1).await[0];
    peer.head(stream);
    peer.data(stream, b"whole");
    peer.end(stream);
    peer.reset(stream, NO_ERROR);
    assert_eq!(running.await.unwrap().unwrap(), "whole");
    peer.answer(kept);
    neighbour.await.unwrap().unwrap();
    let said = peer.unread();
    assert!(!said.contains(&RST_STREAM) && !said.contains(&GOAWAY), "a reset is not answered: {said:?}");
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

/// Shutting TLS down waits for a peer that reads, and so does saying goodbye: neither may keep the place for long.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_listen_to_our_goodbye_does_not_keep_the_socket() {
    let mut net = Net::h2(100);
    net.stubborn = true;
    let (pool, net, tasks) = net.pool(config(1, 1));
    get(&pool, &origin(SITE), "/").await.unwrap();
    let other = pool.checkout(&origin("https://b.test"), within(Duration::from_secs(5))).await.unwrap();
    exchange(other, "/").await.unwrap();
    drop(pool);
    until("all closed", || tasks.running() == 0 && net.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_stopped_reading_does_not_keep_the_socket() {
    let (arrived, mut ends) = mpsc::unbounded_channel();
    let net = Net::new(move |_, _| {
        let arrived = arrived.clone();
        Plan::Raw(Protocol::H2, Box::new(move |end| arrived.send(end).unwrap()))
    });
    let (pool, net, tasks) = net.pool(config(1, 1));
    let lease = lease(&pool, &origin(SITE)).await;
    // With what goes before it more than the pipe holds, and no more than the windows allow.
    let request = request(&lease, "/").map(|_| Bytes::from(vec![b'x'; 65_535]));
    let sending = tokio::spawn(lease.send(request));
    let mut end = ends.recv().await.unwrap();
    end.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    settle().await;
    sending.abort();
    let began = tokio::time::Instant::now();
    drop(pool);
    until("all closed", || tasks.running() == 0 && net.open() == 0).await;
    assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    drop(end);
}

//! What a server said before it closed is heard, though writing to it fails first.

use std::sync::atomic::Ordering;

use crate::support::frames::{Peer, peers};
use crate::support::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use trunkline::pool::{Kind, Pool, Protocol};

/// A connection that has answered one request, and the stream of it.
async fn served(pool: &Pool, peers: &mut mpsc::UnboundedReceiver<Peer>) -> (Peer, u32) {
    let first = call(pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    peer.answer(stream);
    first.await.unwrap().unwrap();
    (peer, stream)
}

#[tokio::test(start_paused = true)]
async fn a_goaway_that_waits_to_be_read_is_heard_by_requests_that_could_not_be_written() {
    let (pool, net, tasks, mut peers) = peers(Some(100), config(5, 5));
    let (peer, stream) = served(&pool, &mut peers).await;
    net.unwritable.store(true, Ordering::SeqCst);
    let calls: Vec<_> = (0..3).map(|_| call(&pool, "/")).collect();
    settle().await;
    peer.goaway(stream);
    drop(peer);
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Unprocessed, "{error}");
    }
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_before_the_body_was_written_is_the_answer() {
    let (arrived, mut ends) = mpsc::unbounded_channel();
    let network = Net::new(move |_, _| {
        let arrived = arrived.clone();
        Plan::Raw(Protocol::H1, Box::new(move |end| arrived.send(end).unwrap()))
    });
    let (pool, net, tasks) = network.pool(config(5, 5));
    let lease = lease(&pool, &origin("http://a.test")).await;
    let mut request = request(&lease, "/");
    // More than lies in the pipe.
    *request.body_mut() = Bytes::from(vec![b'x'; 1 << 20]).into();
    *request.method_mut() = http::Method::POST;
    let sent = tokio::spawn(lease.send(request));
    let mut end = ends.recv().await.unwrap();
    assert!(end.read_u8().await.unwrap() == b'P');
    settle().await;
    net.unwritable.store(true, Ordering::SeqCst);
    // Room for a write, which fails.
    end.read_exact(&mut [0; 1024]).await.unwrap();
    settle().await;
    let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!";
    end.write_all(answer).await.unwrap();
    drop(end);
    let response = sent.await.unwrap().unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no!");
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_cannot_be_written_to_and_says_nothing_ends() {
    let (pool, net, tasks, mut peers) = peers(Some(100), config(5, 5));
    let (peer, _) = served(&pool, &mut peers).await;
    net.unwritable.store(true, Ordering::SeqCst);
    let error = call(&pool, "/").await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::NoResponse { reused: true }, "{error}");
    until("the socket is gone", || net.open() == 0).await;
    nothing_left(pool, &net, &tasks).await;
    drop(peer);
}

//! HTTP/2 PING: whether a silent server lives is asked while there is work, and only then.

use std::time::Duration;

use crate::support::frames::{ACK, HEADERS, PING, Peer, SETTINGS, frame, peers};
use crate::support::*;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use trunkline::pool::{Config, Kind, Protocol};

fn every(interval: u64, timeout: u64) -> Config {
    Config {
        ping_interval: Duration::from_secs(interval),
        ping_timeout: Duration::from_secs(timeout),
        idle_timeout: Duration::from_secs(10_000),
        max_age: Duration::from_secs(100_000),
        ..config(1, 1)
    }
}

fn pings(peer: &mut Peer) -> usize {
    let frames = std::iter::from_fn(|| peer.frames.try_recv().ok());
    frames.filter(|frame| frame.kind == PING && frame.flags & ACK == 0).count()
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_asked_for_once_an_interval_and_a_connection_at_rest_never() {
    let (pool, net, _, mut peers) = peers(Some(100), every(30, 10));
    let mut running = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    for _ in 0..3 {
        let stream = peer.requests(1).await[0];
        peer.unread();
        tokio::time::sleep(Duration::from_secs(605)).await;
        let asked = pings(&mut peer);
        assert!((19..=20).contains(&asked), "{asked} in 605 s");
        peer.answer(stream);
        running.await.unwrap().unwrap();
        // The interval that ran when the stream ended may still end in one.
        tokio::time::sleep(Duration::from_secs(31)).await;
        peer.unread();
        tokio::time::sleep(Duration::from_secs(6000)).await;
        assert_eq!(pings(&mut peer), 0);
        // And again as soon as there is work.
        running = call(&pool, "/");
    }
    let stream = peer.requests(1).await[0];
    peer.answer(stream);
    running.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_speaks_is_not_asked_for() {
    let (pool, net, _, mut peers) = peers(Some(100), every(30, 10));
    let running = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    peer.head(stream);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        peer.data(stream, b"token");
    }
    peer.end(stream);
    assert_eq!(running.await.unwrap().unwrap().len(), 500);
    assert_eq!(pings(&mut peer), 0);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_ping_ends_the_connection_its_streams_and_nobody_elses_wait() {
    let (silent, mut ends) = mpsc::unbounded_channel();
    let net = Net::new(move |_, number| match number {
        0 => {
            let silent = silent.clone();
            Plan::Raw(Protocol::H2, Box::new(move |end| silent.send(end).unwrap()))
        }
        _ => Plan::H2(100),
    });
    let (pool, net, tasks) = net.pool(streams(2, every(15, 10)));
    let began = tokio::time::Instant::now();
    let stuck = [call(&pool, "/"), call(&pool, "/")];
    let waiting = [call(&pool, "/"), call(&pool, "/"), call(&pool, "/")];
    let mut end = ends.recv().await.unwrap();
    // It says its settings and takes everything in, and says nothing more.
    end.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    for call in stuck {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::NoResponse { reused: false });
        assert!(error.causes().unwrap().contains("timed out"), "{error}");
    }
    assert_eq!(began.elapsed().as_secs(), 25);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap(), "ok");
    }
    assert_eq!(began.elapsed().as_secs(), 25);
    whole(&pool, &net).await;
    assert_eq!((net.connects(), pool.snapshot().closed["error"]), (2, 1));
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_with_its_server_is_an_error_and_no_end() {
    let (arrived, mut ends) = mpsc::unbounded_channel();
    let net = Net::new(move |_, _| {
        let arrived = arrived.clone();
        Plan::Raw(Protocol::H2, Box::new(move |end| arrived.send(end).unwrap()))
    });
    let (pool, net, _) = net.pool(every(30, 10));
    let running = call(&pool, "/");
    let mut end = ends.recv().await.unwrap();
    end.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    end.write_all(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    settle().await;
    end.write_all(&frame(HEADERS, 4, 1, &[0x88])).await.unwrap();
    end.write_all(&frame(0, 0, 1, b"half of an ans")).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), Kind::Body);
    whole(&pool, &net).await;
    assert_eq!(net.open(), 0);
}

/// Streams that run on after a GOAWAY. Two: for the last one alone hyper takes the connection for one at rest, and asks no more.
#[tokio::test(start_paused = true)]
async fn streams_of_a_connection_that_takes_no_more_are_asked_for_as_well() {
    let (pool, net, _, mut peers) = peers(Some(100), every(30, 10));
    let calls = [call(&pool, "/"), call(&pool, "/")];
    let mut peer = peers.recv().await.unwrap();
    let running = peer.requests(2).await;
    peer.goaway(running[1]);
    settle().await;
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert!(pings(&mut peer) >= 1);
    for stream in running {
        peer.answer(stream);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    whole(&pool, &net).await;
}

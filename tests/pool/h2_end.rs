//! How HTTP/2 connections end: by GOAWAY, age, rest, silence, or another origin's need.

use std::time::Duration;

use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS, peers};
use crate::support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use trunkline::pool::{Checkout, Config, Kind, Protocol};

const SITE: &str = "https://a.test";

#[tokio::test(start_paused = true)]
async fn a_goaway_takes_no_new_streams_finishes_the_old_and_gives_back_the_unprocessed() {
    let (pool, net, tasks, mut peers) = peers(Some(100), config(5, 5));
    let calls: Vec<_> = (0..3).map(|_| call(&pool, "/")).collect();
    let mut old = peers.recv().await.unwrap();
    let running = old.requests(3).await;
    old.head(running[0]);
    settle().await;
    old.goaway(running[1]);
    let mut calls = calls.into_iter();
    let (first, second, third) = (calls.next().unwrap(), calls.next().unwrap(), calls.next().unwrap());
    // Whoever asks again at once meets a new connection.
    let error = third.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Unprocessed, "{error}");
    let again = lease(&pool, &origin(SITE)).await;
    assert_eq!(again.connection_id(), 2);
    assert_eq!(pool.snapshot().connections.draining, 1);
    // Two streams that the old one finishes, and one of the new.
    let streams = pool.snapshot().streams;
    assert_eq!((streams.active, streams.per_connection), (3, 1.5));
    drop(again);
    old.data(running[0], b"piece");
    old.end(running[0]);
    old.answer(running[1]);
    assert_eq!(first.await.unwrap().unwrap(), "piece");
    assert_eq!(second.await.unwrap().unwrap(), "");
    until("the old one is gone", || net.open() == 1).await;
    assert!(!old.unread().contains(&HEADERS));
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["goaway"], 1);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_goaway_at_the_limit_wakes_who_waits_when_the_old_connection_is_gone() {
    let (pool, net, _, mut peers) = peers(Some(1), config(1, 1));
    let first = call(&pool, "/");
    let mut old = peers.recv().await.unwrap();
    let running = old.requests(1).await[0];
    let second = call(&pool, "/");
    settle().await;
    old.goaway(running);
    settle().await;
    assert_eq!((waiting(&pool), net.connects()), (1, 1));
    old.answer(running);
    first.await.unwrap().unwrap();
    let mut new = peers.recv().await.unwrap();
    let stream = new.requests(1).await[0];
    new.answer(stream);
    second.await.unwrap().unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn connections_over_their_age_finish_their_streams_and_take_no_more() {
    let settings = Config { max_age: Duration::from_secs(1), ..streams(1, config(3, 3)) };
    let (pool, net, tasks) = Net::h2(100).watching(&settings).pool(settings);
    let calls: Vec<_> = (0..4).map(|_| call(&pool, "/gated")).collect();
    until("three are with the server", || net.served() == 3).await;
    // Older than they may become, before the reaper looks.
    tokio::time::advance(Duration::from_millis(1100)).await;
    net.answers.add_permits(4);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(net.opened(), 4);
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["age"], 3);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_goes_after_its_time_and_a_busy_one_stays() {
    let settings = Config { idle_timeout: Duration::from_secs(20), ..streams(1, config(3, 3)) };
    let (pool, net, tasks) = Net::h2(100).pool(settings);
    let busy = call(&pool, "/gated");
    until("one is with the server", || net.served() == 1).await;
    get(&pool, &origin(SITE), "/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert_eq!(net.open(), 2);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(net.open(), 1);
    net.answers.add_permits(1);
    busy.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["idle"], 1);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_close_is_the_true_one() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    for (expected, goaway) in [("goaway", true), ("server", false)] {
        let first = call(&pool, "/");
        let mut peer = peers.recv().await.unwrap();
        let stream = peer.requests(1).await[0];
        peer.answer(stream);
        first.await.unwrap().unwrap();
        if goaway {
            peer.goaway(stream);
            settle().await;
        }
        drop(peer);
        until("it is gone", || net.open() == 0).await;
        whole(&pool, &net).await;
        assert_eq!(pool.snapshot().closed[expected], 1, "{:?}", pool.snapshot().closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_found_out_by_ping() {
    let (silent, mut ends) = mpsc::unbounded_channel();
    let net = Net::new(move |_, n| {
        let silent = silent.clone();
        match n {
            0 => Plan::Raw(Protocol::H2, Box::new(move |end| silent.send(end).unwrap())),
            _ => Plan::H2(100),
        }
    });
    let (pool, net, _) = net.pool(config(1, 1));
    let stuck = get(&pool, &origin(SITE), "/").await.unwrap_err();
    assert_eq!(stuck.kind(), Kind::NoResponse { reused: false });
    drop(ends.recv().await);
    get(&pool, &origin(SITE), "/").await.unwrap();
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["error"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_gives_way_and_a_close_lets_streams_finish() {
    let (pool, net, tasks) = Net::h2(100).pool(config(1, 1));
    let other = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, &origin("https://b.test"), "/").await }
    });
    let calls: Vec<_> = (0..5).map(|_| call(&pool, "/")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    other.await.unwrap().unwrap();
    whole(&pool, &net).await;
    let running = call(&pool, "/gated");
    let before = net.served();
    until("it runs", || net.served() > before).await;
    pool.close();
    net.answers.add_permits(1);
    running.await.unwrap().unwrap();
    pool.closed().await;
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn fresh_passes_over_a_connection_at_rest() {
    let (pool, net, _) = Net::h2(100).pool(config(5, 5));
    let site = origin(SITE);
    drop(lease(&pool, &site).await);
    let fresh = Checkout { fresh: true, ..how() };
    assert_eq!(pool.checkout(&site, fresh.clone()).await.unwrap().connection_id(), 2);
    // One with streams is not at rest.
    let _busy = lease(&pool, &site).await;
    let _fresh = pool.checkout(&site, fresh).await.unwrap();
    assert_eq!(net.connects(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_repeats_what_a_goaway_gave_back_meets_another_connection() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    let site = origin(SITE);
    let server = tokio::spawn(async move {
        let mut old = Vec::new();
        while let Some(mut peer) = peers.recv().await {
            peer.requests(1).await;
            peer.goaway(0);
            // The connection stays, as it does where old streams run on.
            old.push(peer);
        }
    });
    let mut last = 0;
    for _ in 0..300 {
        let lease = lease(&pool, &site).await;
        assert!(lease.connection_id() > last, "{} again", lease.connection_id());
        last = lease.connection_id();
        assert_eq!(exchange(lease, "/").await.unwrap_err().kind(), Kind::Unprocessed);
    }
    server.abort();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_at_rest_is_not_given_out_or_says_that_it_was_reused() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    for seen in [true, false] {
        let first = call(&pool, "/");
        let mut peer = peers.recv().await.unwrap();
        let stream = peer.requests(1).await[0];
        peer.answer(stream);
        first.await.unwrap().unwrap();
        let before = net.connects();
        if seen {
            drop(peer);
            settle().await;
            let next = call(&pool, "/");
            let mut peer = peers.recv().await.unwrap();
            let stream = peer.requests(1).await[0];
            peer.answer(stream);
            next.await.unwrap().unwrap();
            assert_eq!(net.connects(), before + 1);
            drop(peer);
            settle().await;
        } else {
            let next = lease(&pool, &origin(SITE)).await;
            drop(peer);
            let kind = exchange(next, "/").await.unwrap_err().kind();
            assert!(matches!(kind, Kind::Unprocessed | Kind::NoResponse { reused: true }), "{kind:?}");
        }
    }
    whole(&pool, &net).await;
}

/// `:status: 421`, which HPACK's table does not have.
const MISDIRECTED: &[u8] = b"\x08\x03421";

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_the_wrong_one_takes_no_more_requests_and_finishes_those_of_others() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    let neighbour = call(&pool, "/");
    let mut wrong = peers.recv().await.unwrap();
    let running = wrong.requests(1).await[0];
    let misdirected = call(&pool, "/");
    let stream = wrong.requests(1).await[0];
    wrong.send(HEADERS, END_HEADERS | END_STREAM, stream, MISDIRECTED);
    misdirected.await.unwrap().unwrap();
    // It has room for 98 more.
    let again = call(&pool, "/");
    let mut right = peers.recv().await.unwrap();
    let stream = right.requests(1).await[0];
    right.answer(stream);
    again.await.unwrap().unwrap();
    wrong.answer(running);
    neighbour.await.unwrap().unwrap();
    until("the wrong one has gone", || net.open() == 1).await;
    assert_eq!(pool.snapshot().closed["server"], 1);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_the_wrong_one_takes_no_more_requests() {
    let net = Net::new(|_, _| {
        Plan::Raw(
            Protocol::H1,
            Box::new(|mut end| {
                tokio::spawn(async move {
                    let mut asked = Vec::new();
                    while end.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
                        if asked.ends_with(b"question") {
                            asked.clear();
                            end.write_all(b"HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n")
                                .await
                                .unwrap();
                        }
                    }
                });
            }),
        )
    });
    let (pool, net, _) = net.pool(config(1, 1));
    let site = origin("http://a.test");
    for connection in 1..=3 {
        let lease = lease(&pool, &site).await;
        assert_eq!(lease.connection_id(), connection);
        exchange(lease, "/").await.unwrap();
    }
    until("the last has gone", || net.open() == 0).await;
    assert_eq!(pool.snapshot().closed["server"], 3);
    whole(&pool, &net).await;
}

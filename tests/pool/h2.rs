//! HTTP/2 streams: how many, on how many connections, and what becomes of each.

use crate::support::frames::{CANCEL, GOAWAY, HEADERS, REFUSED_STREAM, RST_STREAM, peers};
use crate::support::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use trunkline::pool::{Error, Kind, Pool};

const SITE: &str = "https://a.test";

#[tokio::test(start_paused = true)]
async fn a_cold_burst_opens_at_once_what_it_needs_in_any_case_and_then_what_its_streams_need() {
    for (ours, theirs, at_once, expected) in
        [(100, 100, 3, 3), (50, 100, 5, 5), (100, 1000, 3, 3), (1000, 100, 1, 3)]
    {
        let settings = streams(ours, config(20, 20));
        let (pool, net, tasks) = Net::h2(theirs).gated().watching(&settings).pool(settings);
        let calls: Vec<_> = (0..250).map(|_| call(&pool, "/gated")).collect();
        settle().await;
        assert_eq!((net.connects(), waiting(&pool)), (at_once, 250));
        net.open_gate(20);
        until("all are with the server", || net.served() == 250).await;
        assert_eq!(net.connects(), expected, "{ours} {theirs}");
        let now = pool.snapshot();
        assert_eq!(now.streams.active, 250);
        assert_eq!(now.streams.capacity, expected * ours.min(theirs as usize));
        net.answers.add_permits(250);
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "gated");
        }
        whole(&pool, &net).await;
        assert_eq!(pool.snapshot().reused, 250 - expected as u64);
        nothing_left(pool, &net, &tasks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_burst_that_meets_fewer_streams_than_was_thought_is_served_all_the_same() {
    for theirs in [1, 4, 50] {
        let settings = config(20, 20);
        let (pool, net, tasks) = Net::h2(theirs).watching(&settings).pool(settings);
        let calls: Vec<_> = (0..250).map(|_| persistent(&pool)).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "slow");
        }
        // From now on its limit is known.
        let before = pool.snapshot();
        let calls: Vec<_> = (0..250).map(|_| persistent(&pool)).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let now = pool.snapshot();
        assert_eq!(now.reused + now.opened, before.reused + before.opened + 250, "some were refused again");
        whole(&pool, &net).await;
        nothing_left(pool, &net, &tasks).await;
    }
}

fn persistent(pool: &Pool) -> JoinHandle<Result<Bytes, Error>> {
    let pool = pool.clone();
    tokio::spawn(async move { get_in_the_end(&pool, &origin(SITE), "/slow").await })
}

#[tokio::test(start_paused = true)]
async fn a_checkout_during_the_handshake_opens_no_second_connection() {
    let (pool, net, _, mut peers) = peers(None, config(9, 9));
    let site = origin(SITE);
    let first = call(&pool, "/");
    let mut others = Vec::new();
    // One more at each step of the first one's way.
    while others.len() < 50 {
        others.push(call(&pool, "/"));
        tokio::task::yield_now().await;
    }
    let mut peer = peers.recv().await.unwrap();
    for stream in peer.requests(51).await {
        peer.answer(stream);
    }
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(net.connects(), 1);
    drop(pool.checkout(&site, how()).await.unwrap());
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_limits_wait_in_the_queue() {
    let (pool, net, _) = Net::h2(4).pool(config(1, 1));
    net.answers.add_permits(1);
    call(&pool, "/gated").await.unwrap().unwrap();
    let calls: Vec<_> = (0..20).map(|_| call(&pool, "/gated")).collect();
    until("four are with the server", || net.served() == 5).await;
    settle().await;
    let now = pool.snapshot();
    assert_eq!((now.streams.active, now.streams.capacity), (4, 4));
    assert_eq!((waiting(&pool), net.served(), net.connects()), (16, 5, 1));
    net.answers.add_permits(1);
    until("the next one", || net.served() == 6).await;
    net.answers.add_permits(19);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_change_while_it_runs_change_the_count() {
    let (pool, net, _, mut peers) = peers(Some(2), config(1, 1));
    let first = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    peer.answer(stream);
    first.await.unwrap().unwrap();
    let calls: Vec<_> = (0..10).map(|_| call(&pool, "/")).collect();
    let mut running = peer.requests(2).await;
    settle().await;
    assert_eq!((waiting(&pool), peer.unread().contains(&HEADERS)), (8, false));
    peer.settings(Some(5));
    running.extend(peer.requests(3).await);
    settle().await;
    assert_eq!((waiting(&pool), peer.unread().contains(&HEADERS)), (5, false));
    // Lower than what runs: nothing new until it has sunk below.
    peer.settings(Some(1));
    settle().await;
    for stream in running.drain(1..) {
        peer.answer(stream);
    }
    settle().await;
    assert_eq!((waiting(&pool), peer.unread().contains(&HEADERS)), (5, false));
    peer.answer(running[0]);
    for left in (0..5).rev() {
        let stream = peer.requests(1).await[0];
        settle().await;
        assert_eq!((waiting(&pool), peer.unread().contains(&HEADERS)), (left, false));
        peer.answer(stream);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_unprocessed_and_its_neighbour_runs_on() {
    let (pool, net, _, mut peers) = peers(Some(100), config(5, 5));
    let site = origin(SITE);
    let first = tokio::spawn({
        let (pool, site) = (pool.clone(), site.clone());
        async move { exchange(lease(&pool, &site).await, "/").await }
    });
    let (second, third) = (call(&pool, "/"), call(&pool, "/"));
    let mut peer = peers.recv().await.unwrap();
    let running = peer.requests(3).await;
    peer.reset(running[0], REFUSED_STREAM);
    assert_eq!(first.await.unwrap().unwrap_err().kind(), Kind::Unprocessed);
    peer.reset(running[1], CANCEL);
    assert_eq!(second.await.unwrap().unwrap_err().kind(), Kind::NoResponse { reused: false });
    peer.answer(running[2]);
    third.await.unwrap().unwrap();
    assert_eq!(net.connects(), 1);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_or_body_resets_its_stream_and_frees_its_place() {
    let (pool, net, _, mut peers) = peers(Some(1), config(1, 1));
    let site = origin(SITE);
    let awaiting_head = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer.requests(1).await[0];
    awaiting_head.abort();
    let reset = peer.next(RST_STREAM).await;
    assert_eq!((reset.stream, reset.payload), (stream, CANCEL.to_be_bytes().to_vec()));

    let next = lease(&pool, &site).await;
    let request = request(&next, "/");
    let sending = tokio::spawn(next.send(request));
    let stream = peer.requests(1).await[0];
    peer.head(stream);
    peer.data(stream, b"piece");
    let mut body = sending.await.unwrap().unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(peer.next(RST_STREAM).await.stream, stream);
    assert_eq!(lease(&pool, &site).await.connection_id(), 1);
    whole(&pool, &net).await;
}

/// The peer goes on sending for a moment, as peers do: h2 counts what comes for a stream that it has forgotten.
#[tokio::test(start_paused = true)]
async fn thousands_of_dropped_streams_do_not_end_their_connection() {
    let (pool, net, _, mut peers) = peers(Some(200), streams(200, config(1, 1)));
    let neighbour = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let kept = peer.requests(1).await[0];
    for _ in 0..30 {
        let calls: Vec<_> = (0..100).map(|_| call(&pool, "/")).collect();
        let running = peer.requests(100).await;
        for call in calls {
            call.abort();
        }
        for _ in 0..100 {
            peer.next(RST_STREAM).await;
        }
        for stream in running {
            peer.head(stream);
            peer.data(stream, b"too late");
        }
        settle().await;
    }
    peer.answer(kept);
    neighbour.await.unwrap().unwrap();
    assert!(!peer.unread().contains(&GOAWAY));
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

/// Trap 1a, for a short time: a minute of it is somewhere else.
#[tokio::test(start_paused = true)]
async fn an_unread_stream_of_tiny_frames_neither_stalls_nor_kills_its_neighbours() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    let site = origin(SITE);
    let asleep = lease(&pool, &site).await;
    let mut peer = peers.recv().await.unwrap();
    let sending = tokio::spawn({
        let request = request(&asleep, "/");
        asleep.send(request)
    });
    let unread = peer.requests(1).await[0];
    peer.head(unread);
    let body = sending.await.unwrap().unwrap().into_body();
    let calls: Vec<_> = (0..99).map(|_| call(&pool, "/")).collect();
    let neighbours = peer.requests(99).await;
    for stream in &neighbours {
        peer.head(*stream);
    }
    // What the window of one stream takes, one byte at a time.
    for n in 0..65_535 {
        peer.data(unread, b"x");
        peer.data(neighbours[n % 99], b"y");
        if n % 100 == 0 {
            settle().await;
        }
    }
    for stream in &neighbours {
        peer.end(*stream);
    }
    let mut read = 0;
    for call in calls {
        read += call.await.unwrap().unwrap().len();
    }
    assert_eq!(read, 65_535);
    peer.end(unread);
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 65_535);
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 1);
}

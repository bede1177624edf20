//! Servers that answer a few requests on each connection are not sent more on it than that.

use crate::support::frames::{Peer, peers};
use crate::support::*;
use tokio::sync::mpsc::UnboundedReceiver;
use trunkline::pool::Pool;

/// A connection that answered two requests and then said that it takes no more.
async fn ends_after_two(pool: &Pool, peers: &mut UnboundedReceiver<Peer>) {
    let calls = [call(pool, "/"), call(pool, "/")];
    let mut peer = peers.recv().await.unwrap();
    let running = peer.requests(2).await;
    peer.goaway(running[1]);
    for stream in running {
        peer.answer(stream);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_connection_that_took_two_the_next_ones_are_given_two_each() {
    let (pool, net, _, mut peers) = peers(Some(100), config(9, 9));
    ends_after_two(&pool, &mut peers).await;
    until("it is gone", || net.open() == 0).await;
    let calls: Vec<_> = (0..6).map(|_| call(&pool, "/")).collect();
    for _ in 0..3 {
        let mut peer = peers.recv().await.unwrap();
        let running = peer.requests(2).await;
        settle().await;
        assert!(!peer.unread().contains(&crate::support::frames::HEADERS));
        for stream in running {
            peer.answer(stream);
        }
        peer.goaway(3);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(net.connects(), 4);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_more_is_given_all_from_then_on() {
    let (pool, net, _, mut peers) = peers(Some(100), config(9, 9));
    ends_after_two(&pool, &mut peers).await;
    until("it is gone", || net.open() == 0).await;
    let first = call(&pool, "/");
    let mut peer = peers.recv().await.unwrap();
    let stream = peer_request(&mut peer).await;
    peer.answer(stream);
    first.await.unwrap().unwrap();
    for _ in 0..2 {
        let next = call(&pool, "/");
        let stream = peer_request(&mut peer).await;
        peer.answer(stream);
        next.await.unwrap().unwrap();
    }
    let calls: Vec<_> = (0..20).map(|_| call(&pool, "/")).collect();
    for stream in peer.requests(20).await {
        peer.answer(stream);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(net.connects(), 2);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn where_no_other_connection_may_be_opened_nothing_is_held_back() {
    let (pool, net, _, mut peers) = peers(Some(100), config(1, 1));
    ends_after_two(&pool, &mut peers).await;
    until("it is gone", || net.open() == 0).await;
    let calls: Vec<_> = (0..20).map(|_| call(&pool, "/")).collect();
    let mut peer = peers.recv().await.unwrap();
    for stream in peer.requests(20).await {
        peer.answer(stream);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    whole(&pool, &net).await;
}

async fn peer_request(peer: &mut Peer) -> u32 {
    peer.requests(1).await[0]
}

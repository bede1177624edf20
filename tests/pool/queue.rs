//! The queue of an origin: in which order, how long, how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;
use trunkline::pool::{Checkout, Kind};

const SITE: &str = "http://a.test";

#[tokio::test(start_paused = true)]
async fn the_queue_is_first_in_first_out() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let held = lease(&pool, &site).await;
    let served = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for n in 0..50 {
        let (pool, site, served) = (pool.clone(), site.clone(), served.clone());
        tasks.push(tokio::spawn(async move {
            let lease = lease(&pool, &site).await;
            assert_eq!(served.fetch_add(1, Ordering::SeqCst), n);
            exchange(lease, "/").await.unwrap();
        }));
    }
    settle().await;
    assert_eq!(waiting(&pool), 50);
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    whole(&pool, &net).await;
    assert_eq!(net.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let (pool, _net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let bounded = || Checkout { max_waiting: 3, ..how() };
    let held = lease(&pool, &site).await;
    let mut waiters = Vec::new();
    for _ in 0..3 {
        waiters.push(queued(&pool, &site, bounded()).await);
    }
    let now = tokio::time::Instant::now();
    let refused = pool.checkout(&site, bounded()).await.unwrap_err();
    assert_eq!((refused.kind(), now.elapsed()), (Kind::QueueFull(3), Duration::ZERO));
    waiters.pop().unwrap().abort();
    settle().await;
    waiters.push(queued(&pool, &site, bounded()).await);
    assert_eq!(waiting(&pool), 3);
    assert_eq!(pool.snapshot().queue.refused, 1);
    drop(held);
    for waiter in waiters {
        drop(waiter.await.unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_timeout_and_names_it() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let held = lease(&pool, &site).await;
    let started = tokio::time::Instant::now();
    let limit = Duration::from_millis(1500);
    let late = pool.checkout(&site, within(limit)).await.unwrap_err();
    assert_eq!(late.kind(), Kind::QueueTimeout(limit));
    assert_eq!(late.to_string(), "no free connection within 1500 ms");
    assert_eq!(started.elapsed().as_millis(), 1500);
    drop(held);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_given_up_counts_like_one_that_ended_well() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let held = lease(&pool, &site).await;
    let before = pool.snapshot().acquire_wait;
    assert_eq!(before.count, 1);
    let late = queued(&pool, &site, within(Duration::from_millis(50))).await;
    let gone = queued(&pool, &site, how()).await;
    assert_eq!(kind_of(late).await, Kind::QueueTimeout(Duration::from_millis(50)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let waits = pool.snapshot().acquire_wait;
    assert_eq!((waits.count, waits.max), (3, 70.0));
    assert!(waits.mean > 0.0 && waits.p99 >= 69.0, "{waits:?}");
    drop(held);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_a_socket_that_comes_back_before_its_own_is_there() {
    let (pool, net, _) = Net::h1().gated().pool(config(10, 10));
    let site = origin(SITE);
    net.open_gate(1);
    let held = lease(&pool, &site).await;
    let waits = queued(&pool, &site, how()).await;
    assert_eq!(net.connects(), 2);
    drop(held);
    assert_eq!(waits.await.unwrap().unwrap().connection_id(), 1);
    // The connect goes on, for the next one or to rest.
    net.open_gate(1);
    until("two at rest", || pool.snapshot().connections.idle == 2).await;
    whole(&pool, &net).await;
}

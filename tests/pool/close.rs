//! The end of a pool.

use crate::support::*;
use trunkline::pool::Kind;

const SITE: &str = "http://a.test";

#[tokio::test(start_paused = true)]
async fn a_close_ends_the_queue_and_lets_what_runs_finish() {
    let (pool, net, tasks) = Net::h1().pool(config(2, 2));
    let site = origin(SITE);
    let (running, resting) = (lease(&pool, &site).await, lease(&pool, &site).await);
    drop(resting);
    let held = lease(&pool, &site).await;
    let waits = queued(&pool, &site, how()).await;
    pool.close();
    assert_eq!(kind_of(waits).await, Kind::Closed);
    assert_eq!(pool.checkout(&site, how()).await.unwrap_err().kind(), Kind::Closed);
    drop(held);
    let closing = pool.clone();
    let closed = tokio::spawn(async move { closing.closed().await });
    settle().await;
    assert!(!closed.is_finished());
    assert_eq!(exchange(running, "/").await.unwrap(), "ok");
    closed.await.unwrap();
    assert_eq!(net.open(), 0);
    assert_eq!(pool.snapshot().closed["shutdown"], 2);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_pool() {
    let (pool, net, tasks) = Net::h1().pool(config(2, 2));
    let site = origin(SITE);
    let running = lease(&pool, &site).await;
    get(&pool, &site, "/").await.unwrap();
    let clone = pool.clone();
    drop(pool);
    get(&clone, &site, "/").await.unwrap();
    drop(clone);
    until("the idle one is gone", || net.open() == 1).await;
    assert_eq!(exchange(running, "/").await.unwrap(), "ok");
    until("no task left", || tasks.running() == 0 && net.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_rests_can_be_closed_while_the_rest_goes_on() {
    for net in [Net::h1(), Net::h2(1)] {
        let (pool, net, _tasks) = net.pool(config(3, 3));
        let site = origin("https://a.test");
        let (first, second) = (lease(&pool, &site).await, lease(&pool, &site).await);
        exchange(first, "/").await.unwrap();
        until("one rests", || pool.snapshot().connections.idle == 1).await;
        pool.close_idle();
        until("it is gone", || net.open() == 1).await;
        assert_eq!(pool.snapshot().closed["shutdown"], 1);
        assert_eq!(exchange(second, "/").await.unwrap(), "ok");
        // The pool is open: a retry finds what it needs.
        assert_eq!(get(&pool, &site, "/").await.unwrap(), "ok");
        assert_eq!(net.opened(), 2);
        whole(&pool, &net).await;
    }
}

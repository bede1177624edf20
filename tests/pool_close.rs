//! The end of a pool.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use support::*;
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

//! A machine that slept wakes with dead sockets: none of them is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::*;
use trunkline::pool::{Config, Pool, Tasks};

/// A pool whose wall clock is ahead of the machine's by so many seconds.
fn pool_by(net: Net, settings: Config) -> (Pool, Arc<Net>, Tasks, Arc<AtomicU64>) {
    let (start, started) = (SystemTime::now(), tokio::time::Instant::now());
    let ahead = Arc::new(AtomicU64::new(0));
    let seconds = ahead.clone();
    let wall = move || start + started.elapsed() + Duration::from_secs(seconds.load(Ordering::SeqCst));
    let (pool, net, tasks) = net.pool_with_clock(settings, wall);
    (pool, net, tasks, ahead)
}

#[tokio::test(start_paused = true)]
async fn what_rested_while_the_machine_slept_is_not_used_again() {
    for (net, site) in [(Net::h1(), "http://a.test"), (Net::h2(100), "https://a.test")] {
        let (pool, net, _, ahead) = pool_by(net, config(9, 9));
        let site = origin(site);
        get(&pool, &site, "/").await.unwrap();
        ahead.store(60, Ordering::SeqCst);
        // The very first call after it, before anybody else has looked.
        assert_eq!(lease(&pool, &site).await.connection_id(), 2);
        whole(&pool, &net).await;
        assert_eq!(pool.snapshot().closed["clockJump"], 1);
        // Once is enough.
        get(&pool, &site, "/").await.unwrap();
        assert_eq!(net.opened(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_ran_meanwhile_go_on_but_get_no_company() {
    let (pool, net, _, ahead) = pool_by(Net::h2(100), config(9, 9));
    let site = origin("https://a.test");
    let running = call(&pool, "/gated");
    until("it runs", || net.served() == 1).await;
    ahead.store(3600, Ordering::SeqCst);
    assert_eq!(lease(&pool, &site).await.connection_id(), 2);
    net.answers.add_permits(1);
    assert_eq!(running.await.unwrap().unwrap(), "gated");
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["clockJump"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_a_little_or_back_costs_nothing() {
    let (pool, net, _, ahead) = pool_by(Net::h1(), config(9, 9));
    let site = origin("http://a.test");
    for seconds in [100, 104, 50, 54, 0] {
        ahead.store(seconds, Ordering::SeqCst);
        if seconds == 100 {
            drop(lease(&pool, &site).await);
        }
        get(&pool, &site, "/").await.unwrap();
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    assert_eq!(net.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn time_that_passes_while_somebody_looks_is_no_sleep() {
    let (pool, net, _, _) = pool_by(Net::h1(), config(9, 9));
    let site = origin("http://a.test");
    get(&pool, &site, "/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    get(&pool, &site, "/").await.unwrap();
    assert_eq!(net.opened(), 1);
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!((net.open(), pool.snapshot().closed["idle"]), (0, 1));
}

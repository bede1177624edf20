//! An origin that takes no connections is asked again one connect at a time, and ever more seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::*;
use tokio::time::Instant;
use trunkline::pool::{Checkout, Kind, Tenant};

const SITE: &str = "http://a.test";

fn switched() -> (Net, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let seen = up.clone();
    (Net::new(move |_, _| if seen.load(Ordering::SeqCst) { Plan::H1 } else { Plan::Fail(Kind::Connect) }), up)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_to_an_origin_that_refuses_make_no_storm_of_connects() {
    let (net, up) = switched();
    let (pool, net, _) = net.pool(config(100, 100));
    let site = origin(SITE);
    let started = Instant::now();
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (pool, site) = (pool.clone(), site.clone());
            tokio::spawn(async move {
                let mut failures = 0;
                while let Err(error) = get(&pool, &site, "/").await {
                    assert_eq!(error.kind(), Kind::Connect);
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                failures
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let connects = net.connects();
    // Each of them was told the truth, and none of it was made up: a hundred connects side by side at first, and then at most ten.
    assert!((100..=115).contains(&connects), "{connects}");
    up.store(true, Ordering::SeqCst);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    // The longest back-off, and then some.
    assert!(started.elapsed() < Duration::from_secs(13));
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_it_is_probed_waits_for_the_probe_and_no_longer_than_it_may() {
    let (net, up) = switched();
    let (pool, net, _) = net.pool(config(9, 9));
    let site = origin(SITE);
    for _ in 0..8 {
        get(&pool, &site, "/").await.unwrap_err();
    }
    up.store(true, Ordering::SeqCst);
    // The next probe is seconds away.
    let impatient = pool.checkout(&site, within(Duration::from_millis(10))).await.unwrap_err();
    assert_eq!(impatient.kind(), Kind::QueueTimeout(Duration::from_millis(10)));
    let connects = net.connects();
    let callers: Vec<_> = (0..5).map(|_| pool.checkout(&site, how())).collect();
    let leases = futures_util::future::join_all(callers).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(net.connects(), connects + 5);
    drop(leases);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn all_tenants_of_an_origin_wait_for_one_probe() {
    let (net, up) = switched();
    let (pool, net, _) = net.pool(config(50, 50));
    let site = origin(SITE);
    get(&pool, &site, "/").await.unwrap_err();
    let tenant = |n: usize| Checkout { tenant: Some(Tenant::new(&format!("t{n}"))), ..how() };
    let mut waiting = Vec::new();
    for n in 0..20 {
        waiting.push(queued(&pool, &site, tenant(n)).await);
    }
    assert_eq!(net.connects(), 1, "the probe has not begun");
    for task in waiting {
        assert_eq!(kind_of(task).await, Kind::Connect);
    }
    assert_eq!(net.connects(), 2, "one probe answered them all");
    up.store(true, Ordering::SeqCst);
    let mut waiting = Vec::new();
    for n in 0..20 {
        waiting.push(queued(&pool, &site, tenant(n)).await);
    }
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn other_origins_are_not_kept_waiting() {
    let net = Net::new(|origin, _| if origin.to_string() == SITE { Plan::Fail(Kind::Tls) } else { Plan::H1 });
    let (pool, net, _) = net.pool(config(9, 9));
    for _ in 0..5 {
        get(&pool, &origin(SITE), "/").await.unwrap_err();
    }
    let now = Instant::now();
    get(&pool, &origin("http://b.test"), "/").await.unwrap();
    assert_eq!(now.elapsed(), Duration::ZERO);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_does_not_wait_for_a_probe_or_a_connect() {
    let (net, _up) = switched();
    let (pool, net, tasks) = net.pool(config(9, 9));
    let site = origin(SITE);
    for _ in 0..8 {
        get(&pool, &site, "/").await.unwrap_err();
    }
    let waiting = queued(&pool, &site, how()).await;
    let now = Instant::now();
    pool.close();
    assert_eq!(kind_of(waiting).await, Kind::Closed);
    pool.closed().await;
    assert_eq!(now.elapsed(), Duration::ZERO);
    nothing_left(pool, &net, &tasks).await;

    let (pool, net, tasks) = Net::new(|_, _| Plan::Never).pool(config(9, 9));
    let waiting = queued(&pool, &site, how()).await;
    pool.close();
    assert_eq!(kind_of(waiting).await, Kind::Closed);
    pool.closed().await;
    assert_eq!(now.elapsed(), Duration::ZERO);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn who_would_rather_go_elsewhere_waits_for_no_connect_that_is_put_off_and_for_no_probe() {
    let (net, up) = switched();
    let (pool, net, _) = net.delayed(Duration::from_millis(10)).pool(config(9, 9));
    let site = origin(SITE);
    let elsewhere = || Checkout { fail_fast: true, ..how() };
    // Of an origin that has not failed yet, the connect is waited for.
    assert_eq!(pool.checkout(&site, elsewhere()).await.unwrap_err().kind(), Kind::Connect);
    let now = Instant::now();
    let error = pool.checkout(&site, elsewhere()).await.unwrap_err();
    assert_eq!((error.kind(), now.elapsed()), (Kind::PutOff, Duration::ZERO));
    assert!(error.to_string().ends_with("a.test:80 a moment ago: scripted"), "{error}");
    // Somebody who waits finds out for all.
    let patient = queued(&pool, &site, how()).await;
    tokio::time::sleep(Duration::from_millis(55)).await;
    assert_eq!(
        (pool.checkout(&site, elsewhere()).await.unwrap_err().kind(), net.connects()),
        (Kind::PutOff, 2)
    );
    assert_eq!(kind_of(patient).await, Kind::Connect);
    // When nobody else does, and it is time, the next one finds out, wherever it would rather go.
    tokio::time::sleep(Duration::from_secs(2)).await;
    up.store(true, Ordering::SeqCst);
    let lease = pool.checkout(&site, elsewhere()).await.unwrap();
    assert_eq!(waiting(&pool), 0);
    // Now there is a connection.
    drop(lease);
    pool.checkout(&site, elsewhere()).await.unwrap();
    whole(&pool, &net).await;
}

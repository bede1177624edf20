//! The limits, and who gets a socket when there are no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::*;
use trunkline::pool::{Checkout, Config, Error, Lease, Tenant};

const SITE: &str = "http://a.test";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_limits_hold_under_bursts() {
    let settings = Config { max_idle_connections: 3, ..config(10, 4) };
    let net = Net::h1().delayed(Duration::from_millis(3)).watching(&settings);
    let (pool, net, tasks) = net.pool(settings);
    let sites: Vec<_> = (0..5).map(|n| origin(&format!("http://{n}.test"))).collect();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..500 {
        let (pool, site) = (pool.clone(), sites[n % 5].clone());
        calls.spawn(async move { get(&pool, &site, "/slow").await });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    whole(&pool, &net).await;
    assert!(net.open() <= 3, "{}", net.open());
    let now = pool.snapshot();
    assert_eq!((net.peak(), now.connections.peak), (10, 10));
    assert_eq!(net.served(), 500);
    assert_eq!(now.acquire_wait.count, 500);
    assert_eq!(now.reused, 500 - now.opened);
    assert_eq!(now.reused, now.origins.iter().map(|o| o.reused).sum::<u64>());
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn the_idle_socket_used_least_recently_gives_way_to_another_origin() {
    let (pool, net, _) = Net::h1().pool(config(3, 3));
    for n in 1..=3 {
        get(&pool, &origin(&format!("http://{n}.test")), "/").await.unwrap();
        tokio::time::sleep(SECOND).await;
    }
    get(&pool, &origin("http://1.test"), "/").await.unwrap();
    get(&pool, &origin("http://4.test"), "/").await.unwrap();
    whole(&pool, &net).await;
    let now = pool.snapshot();
    let idle: Vec<_> = (now.origins.iter().filter(|o| o.idle == 1).map(|o| &*o.origin)).collect();
    assert!(!idle.contains(&"http://2.test"), "{idle:?}");
    assert_eq!((idle.len(), now.closed["evicted"]), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_comes_to_rest_gives_way_to_an_origin_that_waits() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let held = lease(&pool, &origin(SITE)).await;
    let other = queued(&pool, &origin("http://b.test"), within(SECOND)).await;
    exchange(held, "/").await.unwrap();
    other.await.unwrap().unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_starves_while_another_origin_is_busy() {
    let settings = config(2, 2);
    let (pool, net, _) = Net::h1().watching(&settings).pool(settings);
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let (pool, stop) = (pool.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    get(&pool, &origin(SITE), "/slow").await.unwrap();
                }
            })
        })
        .collect();
    tokio::time::sleep(SECOND).await;
    for _ in 0..3 {
        let other = pool.checkout(&origin("http://b.test"), within(SECOND)).await.unwrap();
        exchange(other, "/").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in busy {
        task.await.unwrap();
    }
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn each_of_several_blocked_origins_gets_a_socket() {
    let (pool, net, _) = Net::h1().pool(config(4, 4));
    let site = origin(SITE);
    let resting: Vec<_> = futures_of(4, || pool.checkout(&site, how())).await;
    drop(resting);
    // Two sockets are on their way out for b when c asks for a third.
    let b = origin("http://b.test");
    let c = origin("http://c.test");
    let take = |site| pool.checkout(site, within(SECOND));
    let (one, two, three) = tokio::join!(take(&b), take(&b), take(&c));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(pool.snapshot().closed["evicted"], 3);
    drop((one, two, three));
    whole(&pool, &net).await;
}

async fn futures_of<F: Future<Output = Result<Lease, Error>>>(
    count: usize,
    make: impl Fn() -> F,
) -> Vec<Lease> {
    let mut made = Vec::new();
    for _ in 0..count {
        made.push(make().await.unwrap());
    }
    made
}

#[tokio::test(start_paused = true)]
async fn an_origin_at_its_own_limit_takes_nothing_from_others() {
    let (pool, net, _) = Net::h1().pool(config(3, 1));
    let held = lease(&pool, &origin(SITE)).await;
    get(&pool, &origin("http://b.test"), "/").await.unwrap();
    get(&pool, &origin("http://c.test"), "/").await.unwrap();
    let waits = queued(&pool, &origin(SITE), how()).await;
    assert_eq!(net.open(), 3);
    drop(held);
    waits.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.open(), 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_starves_while_another_origin_streams_without_a_pause() {
    let settings = config(1, 1);
    let (pool, net, _) = Net::h2(100).watching(&settings).pool(settings);
    let stop = Arc::new(AtomicBool::new(false));
    let mut busy = Vec::new();
    for n in 0..6 {
        let (pool, stop) = (pool.clone(), stop.clone());
        busy.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            while !stop.load(Ordering::Relaxed) {
                get(&pool, &origin("https://a.test"), "/slow").await.unwrap();
            }
        }));
    }
    tokio::time::sleep(SECOND).await;
    for _ in 0..3 {
        let other = pool.checkout(&origin("https://b.test"), within(SECOND)).await.unwrap();
        exchange(other, "/").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in busy {
        task.await.unwrap();
    }
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_gives_way_slowly_keeps_no_other_from_it() {
    let net = Net::new(|site, _| match site.to_string().as_str() {
        "https://a.test" => Plan::H2(100),
        _ => Plan::H1,
    });
    let (pool, net, _) = net.pool(config(2, 2));
    let long = call(&pool, "/gated");
    until("it runs", || net.served() == 1).await;
    let short = lease(&pool, &origin("https://a.test")).await;
    let third = lease(&pool, &origin("http://c.test")).await;
    let other = queued(&pool, &origin("http://b.test"), within(SECOND)).await;
    // The long stream may take minutes; the third origin's socket comes to rest now.
    exchange(short, "/").await.unwrap();
    exchange(third, "/").await.unwrap();
    other.await.unwrap().unwrap();
    net.answers.add_permits(1);
    long.await.unwrap().unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn two_that_count_on_the_same_socket_to_go_both_get_one() {
    let (pool, net, _) = Net::h1().pool(config(5, 2));
    let of = |tenant| Checkout { tenant: Some(Tenant::new(tenant)), ..within(SECOND) };
    let (a, b, c) = (origin(SITE), origin("http://b.test"), origin("http://c.test"));
    let busy = (lease(&pool, &a).await, lease(&pool, &c).await, lease(&pool, &b).await);
    drop(lease(&pool, &b).await);
    get(&pool, &b, "/").await.unwrap();
    let resting = (pool.checkout(&a, of("x")).await.unwrap(), lease(&pool, &b).await);
    drop(resting.0);
    drop(resting.1);
    assert_eq!((net.open(), pool.snapshot().connections.idle), (5, 2));
    // In one instant: a is at its own limit, so the socket of its other tenant goes. That makes room for c as well, until a takes it.
    let (one, two) = tokio::join!(pool.checkout(&a, of("y")), pool.checkout(&c, within(SECOND)));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    drop((busy, one, two));
    whole(&pool, &net).await;
}

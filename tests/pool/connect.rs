//! Connects: whom they serve, and whom they fail.

use std::sync::Mutex;
use std::time::Duration;

use crate::support::*;
use tokio::sync::oneshot;
use trunkline::pool::{Checkout, Config, Kind, Protocol, Tenant};

const SITE: &str = "http://a.test";
const SECURE: &str = "https://a.test";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_connect_outlives_its_waiter_and_serves_the_next() {
    let (pool, net, _) = Net::h1().gated().pool(config(10, 10));
    let site = origin(SITE);
    let gone = queued(&pool, &site, within(SECOND)).await;
    assert_eq!(kind_of(gone).await, Kind::QueueTimeout(SECOND));
    let next = queued(&pool, &site, how()).await;
    assert_eq!(net.connects(), 1);
    net.open_gate(1);
    let lease = next.await.unwrap().unwrap();
    assert!(!lease.is_reused());
    assert_eq!(lease.waited(), Duration::ZERO);
    drop(lease);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn where_an_origin_took_connections_one_that_fails_answers_one_waiter_and_the_next_that_fails_all() {
    let net = Net::new(|_, n| if n == 1 || n == 2 { Plan::Fail(Kind::Dns) } else { Plan::H1 });
    let (pool, net, _) = net.pool(config(1, 1));
    let site = origin(SITE);
    exchange(lease(&pool, &site).await, "/close").await.unwrap();
    until("closed", || net.open() == 0).await;
    let ask = async || {
        let mut waiters = Vec::new();
        for _ in 0..3 {
            waiters.push(tokio::spawn({
                let (pool, site) = (pool.clone(), site.clone());
                async move { get(&pool, &site, "/").await.map(drop).map_err(|error| error.kind()) }
            }));
        }
        let mut answers = Vec::new();
        for waiter in waiters {
            answers.push(waiter.await.unwrap());
        }
        answers
    };
    assert_eq!(ask().await, [Err(Kind::Dns); 3]);
    assert_eq!(net.connects(), 3);
    assert_eq!(ask().await, [Ok(()); 3]);
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 4);
}

#[tokio::test(start_paused = true)]
async fn over_a_protocol_not_yet_known_a_failed_connect_answers_all() {
    let net = Net::new(|_, n| if n == 0 { Plan::Fail(Kind::Tls) } else { Plan::H1 });
    let (pool, net, _) = net.gated().pool(config(10, 10));
    let site = origin(SECURE);
    let mut waiters = Vec::new();
    for _ in 0..20 {
        waiters.push(queued(&pool, &site, how()).await);
    }
    net.open_gate(100);
    for waiter in waiters {
        assert_eq!(kind_of(waiter).await, Kind::Tls);
    }
    assert_eq!(net.connects(), 1);
    get(&pool, &site, "/").await.unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_burst_that_turns_out_as_h1_opens_a_socket_for_each() {
    let (pool, net, _) = Net::h1().gated().pool(config(10, 10));
    let site = origin(SECURE);
    let mut waiters = Vec::new();
    for _ in 0..5 {
        waiters.push(queued(&pool, &site, how()).await);
    }
    assert_eq!(net.connects(), 1);
    net.open_gate(5);
    let mut leases = Vec::new();
    for waiter in waiters {
        leases.push(waiter.await.unwrap().unwrap());
    }
    assert_eq!(net.connects(), 5);
    drop(leases);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_takes_too_long_is_given_up() {
    let net = Net::new(|_, n| if n < 2 { Plan::Never } else { Plan::H1 });
    let settings = config(2, 2);
    let (pool, net, _) = net.watching(&settings).pool(settings);
    let site = origin(SITE);
    let impatient = || Checkout { connect_timeout: SECOND, ..how() };
    let first = queued(&pool, &site, impatient()).await;
    let second = queued(&pool, &site, impatient()).await;
    assert_eq!(pool.snapshot().connections.connecting, 2);
    assert_eq!(kind_of(first).await, Kind::ConnectTimeout(SECOND));
    assert_eq!(kind_of(second).await, Kind::ConnectTimeout(SECOND));
    whole(&pool, &net).await;
    get(&pool, &site, "/").await.unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_once_is_an_error_and_leaves_nothing() {
    for protocol in [Protocol::H1, Protocol::H2] {
        let (pool, net, _) = Net::new(move |_, _| Plan::Raw(protocol, Box::new(drop))).pool(config(2, 2));
        for site in [origin(SITE), origin(SECURE)] {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let (pool, site) = (pool.clone(), site.clone());
                calls.spawn(async move { get(&pool, &site, "/").await });
            }
            while let Some(call) = calls.join_next().await {
                let kind = call.unwrap().unwrap_err().kind();
                assert!(
                    matches!(kind, Kind::Connect | Kind::NoResponse { .. } | Kind::Unprocessed),
                    "{kind:?}"
                );
            }
        }
        whole(&pool, &net).await;
    }
}

#[tokio::test(start_paused = true)]
async fn warm_opens_ahead_and_its_connects_outlive_it() {
    let (pool, net, tasks) = Net::h1().gated().pool(config(10, 10));
    let site = origin(SECURE);
    let (warmed, warm_site) = (pool.clone(), site.clone());
    let warm = tokio::spawn(async move { warmed.warm(&warm_site, 4, how()).await });
    net.open_gate(1);
    until("the rest is opening", || net.connects() == 4).await;
    let waits = queued(&pool, &site, how()).await;
    drop(waits.await.unwrap().unwrap());
    warm.abort();
    net.open_gate(3);
    until("all at rest", || pool.snapshot().connections.idle == 4).await;
    pool.warm(&site, 4, how()).await.unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 4);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_warmed_connection_was_there_already() {
    for (net, connections) in [(Net::h1(), 3), (Net::h2(2), 6)] {
        let (pool, net, _tasks) = net.pool(streams(2, config(10, 10)));
        let site = origin(SECURE);
        pool.warm(&site, connections, how()).await.unwrap();
        assert_eq!(net.opened(), 3);
        let mut leases = Vec::new();
        for _ in 0..connections {
            leases.push(lease(&pool, &site).await);
        }
        assert!(leases.iter().all(|lease| lease.is_reused() && lease.phases().is_none()));
        for lease in leases {
            exchange(lease, "/").await.unwrap();
        }
        assert_eq!((net.opened(), pool.snapshot().reused), (3, connections as u64));
    }
}

#[tokio::test(start_paused = true)]
async fn warm_opens_no_more_than_may_rest() {
    let resting = |max| Config { max_idle_connections: max, ..config(10, 10) };
    for (net, wanted) in [(Net::h1(), 8), (Net::h2(1), 8)] {
        let (pool, net, _tasks) = net.pool(streams(1, resting(3)));
        let site = origin(SECURE);
        pool.warm(&site, wanted, how()).await.unwrap();
        whole(&pool, &net).await;
        assert_eq!((net.opened(), net.open(), pool.snapshot().closed["evicted"]), (3, 3, 0));
        // Those in use will not rest now.
        let busy = (lease(&pool, &site).await, lease(&pool, &site).await);
        pool.warm(&site, wanted, how()).await.unwrap();
        assert_eq!((net.opened(), net.open(), pool.snapshot().connections.idle), (5, 5, 3));
        drop(busy);
        whole(&pool, &net).await;
        assert_eq!(net.open(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn warm_never_goes_beyond_the_limits() {
    let settings = Config { max_idle_connections: 10, ..config(10, 4) };
    let (pool, net, _) = Net::h1().watching(&settings).pool(settings);
    pool.warm(&origin(SITE), 9, how()).await.unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.open(), 4);
}

#[tokio::test(start_paused = true)]
async fn where_no_connection_may_rest_warm_opens_none() {
    for net in [Net::h1(), Net::h2(10)] {
        let (pool, net, _tasks) = net.pool(Config { max_idle_connections: 0, ..config(10, 10) });
        pool.warm(&origin(SECURE), 4, how()).await.unwrap();
        assert_eq!(net.connects(), 0);
        pool.close();
        assert_eq!(pool.warm(&origin(SECURE), 4, how()).await.unwrap_err().kind(), Kind::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_fails_its_callers_and_not_the_pool() {
    let (pool, net, tasks) =
        Net::new(|_, n| if n < 2 { panic!("scripted") } else { Plan::H1 }).pool(config(1, 1));
    let site = origin(SITE);
    for _ in 0..2 {
        let error = pool.checkout(&site, how()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Connect);
    }
    get(&pool, &site, "/").await.unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.connects(), 3);
    nothing_left(pool, &net, &tasks).await;
}

/// Connects that land when they are told to, in the order of their beginning: true is a socket.
fn landing(count: usize) -> (Net, Vec<oneshot::Sender<bool>>) {
    let (land, told): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel::<bool>()).unzip();
    let told = Mutex::new(told.into_iter());
    let net = Net::new(move |_, _| {
        let Some(told) = told.lock().unwrap().next() else { return Plan::H1 };
        Plan::Later(Box::pin(async {
            match told.await {
                Ok(true) => Plan::H1,
                _ => Plan::Fail(Kind::Connect),
            }
        }))
    });
    (net, land)
}

fn tenant(name: &str) -> Checkout {
    Checkout { tenant: Some(Tenant::new(name)), ..how() }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_fails_beside_one_that_was_just_made_leaves_no_other_tenant_asleep() {
    let (net, mut land) = landing(2);
    let (pool, net, _) = net.pool(config(2, 2));
    let site = origin(SITE);
    let one = queued(&pool, &site, tenant("x")).await;
    let two = queued(&pool, &site, tenant("y")).await;
    let three = queued(&pool, &site, tenant("y")).await;
    // In one instant: the first is made, but not yet offered to its waiter, when the second fails.
    land.remove(0).send(true).unwrap();
    land.remove(0).send(false).unwrap();
    assert!(one.await.unwrap().is_ok());
    assert_eq!(kind_of(two).await, Kind::Connect);
    assert!(three.await.unwrap().is_ok());
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn once_a_protocol_is_known_each_tenant_opens_as_many_sockets_as_it_needs() {
    let (net, mut land) = landing(2);
    let (pool, net, _) = net.pool(config(5, 5));
    let site = origin(SECURE);
    let one = queued(&pool, &site, tenant("x")).await;
    let two = queued(&pool, &site, tenant("y")).await;
    let three = queued(&pool, &site, tenant("y")).await;
    assert_eq!(net.connects(), 2);
    land.remove(0).send(true).unwrap();
    // The other tenant's first connect has no end yet.
    let (_one, _two) = (one.await.unwrap().unwrap(), two.await.unwrap().unwrap());
    assert_eq!(net.connects(), 3);
    land.remove(0).send(true).unwrap();
    drop(three.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn no_more_http2_connections_rest_than_are_kept() {
    let settings = Config { max_idle_connections: 0, ..streams(1, config(3, 3)) };
    let (pool, net, _) = Net::h2(1).pool(settings);
    pool.warm(&origin(SECURE), 3, how()).await.unwrap();
    until("none rests", || net.open() == 0).await;
    whole(&pool, &net).await;
}

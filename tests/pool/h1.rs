//! HTTP/1.1 sockets: when one is used again, when it must not be, and when it goes.

use std::time::Duration;

use crate::support::*;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use trunkline::pool::{Checkout, Config, Kind, Protocol};

const SITE: &str = "http://a.test";

/// A peer that answers each request with `answer`, and closes after `requests` of them.
fn scripted(requests: usize, answer: &'static str) -> Plan {
    Plan::Raw(
        Protocol::H1,
        Box::new(move |mut end: DuplexStream| {
            tokio::spawn(async move {
                for _ in 0..requests {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = end.read_u8().await else { return };
                        request.push(byte);
                    }
                    end.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_socket_serves_again_after_the_end_of_its_body() {
    let (pool, net, tasks) = Net::h1().pool(config(10, 10));
    let site = origin(SITE);
    for path in ["/", "/large", "/empty", "/"] {
        get(&pool, &site, path).await.unwrap();
        until("the socket rests", || pool.snapshot().connections.idle == 1).await;
    }
    whole(&pool, &net).await;
    let now = pool.snapshot();
    assert_eq!((now.opened, now.reused, now.connections.peak), (1, 3, 1));
    assert_eq!(now.bytes_received, 2 + (1 << 20) + 2);
    assert_eq!(now.handshake_time_saved, 30.0);
    assert_eq!((now.origins[0].opened, now.origins[0].reused), (1, 3));
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_socket_in_is_the_first_out() {
    let (pool, _net, _) = Net::h1().pool(config(10, 10));
    let site = origin(SITE);
    let leases = [lease(&pool, &site).await, lease(&pool, &site).await, lease(&pool, &site).await];
    for lease in leases {
        exchange(lease, "/").await.unwrap();
        settle().await;
    }
    for expected in [3, 2, 1] {
        let lease = lease(&pool, &site).await;
        assert_eq!(lease.connection_id(), expected);
        assert!(lease.is_reused());
        // Kept out of the pool, so that the next one comes.
        std::mem::forget(lease);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unused_lease_goes_back_as_it_came() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let first = lease(&pool, &site).await;
    assert!(!first.is_reused() && first.phases().is_some());
    drop(first);
    let second = lease(&pool, &site).await;
    assert!(second.is_reused() && second.phases().is_none());
    exchange(second, "/").await.unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_socket_serves_nobody_while_its_body_is_unread() {
    let (pool, net, _) = Net::h1().pool(config(10, 10));
    let site = origin(SITE);
    let first = lease(&pool, &site).await;
    let request = request(&first, "/large");
    let mut unread = first.send(request).await.unwrap().into_body();
    unread.frame().await.unwrap().unwrap();
    settle().await;
    assert_eq!(pool.snapshot().connections.idle, 0);
    assert_eq!(lease(&pool, &site).await.connection_id(), 2);
    let rest = unread.collect().await.unwrap().to_bytes();
    assert!(rest.len() > 1 << 19);
    whole(&pool, &net).await;
    assert_eq!(net.open(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_half_way_closes_its_socket_and_frees_its_place() {
    for path in ["/large", "/endless"] {
        let (pool, net, tasks) = Net::h1().pool(config(1, 1));
        let site = origin(SITE);
        let first = lease(&pool, &site).await;
        let request = request(&first, path);
        let mut body = first.send(request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert_eq!(lease(&pool, &site).await.connection_id(), 2);
        whole(&pool, &net).await;
        assert_eq!(net.closed(), 1);
        assert_eq!(pool.snapshot().closed["cancelled"], 1);
        nothing_left(pool, &net, &tasks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_before_its_head_closes_its_socket() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let call = tokio::time::timeout(Duration::from_secs(1), get(&pool, &site, "/hang"));
    assert!(call.await.is_err());
    get(&pool, &site, "/").await.unwrap();
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["cancelled"], 1);
}

/// Shutting TLS down waits for room to write; a peer that reads no more would keep the place for a quarter of an hour.
#[tokio::test(start_paused = true)]
async fn a_cancelled_socket_closes_at_once_though_its_peer_does_not_read() {
    let mut net = Net::h1();
    net.stubborn = true;
    let (pool, net, tasks) = net.pool(config(1, 1));
    let site = origin(SITE);
    let call = tokio::time::timeout(Duration::from_secs(1), get(&pool, &site, "/hang"));
    assert!(call.await.is_err());
    let next = pool.checkout(&site, within(Duration::from_secs(1))).await.unwrap();
    let request = request(&next, "/endless");
    drop(next.send(request).await.unwrap());
    let last = pool.checkout(&site, within(Duration::from_secs(1))).await.unwrap();
    drop((last, pool));
    until("all closed", || tasks.running() == 0 && net.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_the_server_closed_is_not_given_out() {
    let net = Net::new(|_, _| scripted(1, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let (pool, net, _) = net.pool(config(10, 10));
    let site = origin(SITE);
    for opened in 1..=5 {
        assert_eq!(get(&pool, &site, "/").await.unwrap(), "ok");
        settle().await;
        assert_eq!((net.opened(), net.open()), (opened, 0));
    }
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["server"], 5);
}

#[tokio::test(start_paused = true)]
async fn connection_close_is_the_end_of_a_socket() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let (pool, net, _) = Net::new(move |_, _| scripted(9, answer)).pool(config(1, 1));
    for _ in 0..3 {
        assert_eq!(get(&pool, &origin(SITE), "/").await.unwrap(), "ok");
    }
    whole(&pool, &net).await;
    assert_eq!((net.opened(), net.open()), (3, 0));
}

/// The server closes while a request is on its way: nobody can see that before.
#[tokio::test(start_paused = true)]
async fn a_socket_that_dies_under_a_request_says_whether_it_had_served() {
    let net = Net::new(|_, number| {
        Plan::Raw(
            Protocol::H1,
            Box::new(move |mut end| {
                tokio::spawn(async move {
                    let mut seen = [0; 1024];
                    if number == 0 {
                        assert_ne!(end.read(&mut seen).await.unwrap(), 0);
                        end.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    }
                    assert_ne!(end.read(&mut seen).await.unwrap(), 0);
                });
            }),
        )
    });
    let (pool, net, _) = net.pool(config(1, 1));
    let site = origin(SITE);
    get(&pool, &site, "/").await.unwrap();
    settle().await;
    let reused = get(&pool, &site, "/").await.unwrap_err();
    assert_eq!(reused.kind(), Kind::NoResponse { reused: true });
    let fresh = get(&pool, &site, "/").await.unwrap_err();
    assert_eq!(fresh.kind(), Kind::NoResponse { reused: false });
    whole(&pool, &net).await;
    assert_eq!(pool.snapshot().closed["error"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_cut_short_is_an_error_and_no_end() {
    let (pool, net, _) =
        Net::new(|_, _| scripted(1, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")).pool(config(1, 1));
    let cut = get(&pool, &origin(SITE), "/").await.unwrap_err();
    assert_eq!(cut.kind(), Kind::Body);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_a_protocol_error() {
    let (pool, net, _) = Net::new(|_, _| scripted(1, "SSH-2.0-OpenSSH_9.2\r\n\r\n")).pool(config(1, 1));
    let odd = get(&pool, &origin(SITE), "/").await.unwrap_err();
    assert_eq!(odd.kind(), Kind::Protocol);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn fresh_never_gives_out_a_socket_that_rested() {
    // Per origin full, in all full, and neither.
    for (all, by_origin) in [(10, 2), (2, 10), (10, 10)] {
        let (pool, net, _) = Net::h1().pool(config(all, by_origin));
        let site = origin(SITE);
        drop((lease(&pool, &site).await, lease(&pool, &site).await));
        assert_eq!(pool.snapshot().connections.idle, 2);
        let fresh = Checkout { fresh: true, ..how() };
        let lease = pool.checkout(&site, fresh).await.unwrap();
        assert_eq!((lease.connection_id(), lease.is_reused()), (3, false));
        exchange(lease, "/").await.unwrap();
        whole(&pool, &net).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkout_takes_an_idle_socket_though_another_waits_for_a_fresh_one() {
    let net = Net::new(|_, number| if number < 2 { Plan::H1 } else { Plan::Never });
    let (pool, _net, _) = net.pool(config(10, 2));
    let site = origin(SITE);
    drop((lease(&pool, &site).await, lease(&pool, &site).await));
    let (waiting_pool, waiting_site) = (pool.clone(), site.clone());
    let fresh = Checkout { fresh: true, ..how() };
    let stuck = tokio::spawn(async move { waiting_pool.checkout(&waiting_site, fresh).await });
    settle().await;
    let at_once = pool.checkout(&site, within(Duration::from_secs(1))).await.unwrap();
    assert!(at_once.is_reused());
    stuck.abort();
}

#[tokio::test(start_paused = true)]
async fn a_socket_goes_after_the_idle_timeout() {
    let settings = Config { idle_timeout: Duration::from_secs(60), ..config(10, 10) };
    let (pool, net, _) = Net::h1().pool(settings);
    get(&pool, &origin(SITE), "/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(net.open(), 1);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(net.open(), 0);
    assert_eq!(pool.snapshot().closed["idle"], 1);
    // The origin is forgotten as well, some time after its last use.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(pool.snapshot().origins.is_empty());
    get(&pool, &origin(SITE), "/").await.unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_over_its_age_takes_no_new_request() {
    let settings = Config {
        max_age: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(1000),
        ..config(10, 10)
    };
    let (pool, net, _) = Net::h1().pool(settings);
    let site = origin(SITE);
    let mut opened = 0;
    for _ in 0..100 {
        get(&pool, &site, "/").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        opened = net.opened();
    }
    // Each lived between 18 and 20 seconds.
    assert!((5..=6).contains(&opened), "{opened}");
    whole(&pool, &net).await;
    assert!(pool.snapshot().closed["age"] >= 4);
}

#[tokio::test(start_paused = true)]
async fn an_unread_body_outlives_the_memory_of_its_origin() {
    // The server resets in mid-body; the reader looks only minutes later, and somebody else was there in the meantime.
    let (pool, net, _) =
        Net::new(|_, _| scripted(1, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut")).pool(config(10, 10));
    let site = origin(SITE);
    let first = lease(&pool, &site).await;
    let request = request(&first, "/");
    let mut body = first.send(request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    until("the socket is gone", || net.open() == 0).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let other = lease(&pool, &site).await;
    drop(other);
    drop(body);
    whole(&pool, &net).await;
}

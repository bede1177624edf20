//! Limits that several clients keep together through a real Redis. Each client is to Redis what a process is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::shared::*;
use crate::support::*;
use serde_json::json;
use tokio::time::Instant;
use trunkline::client::{Call, Client, Endpoint};
use trunkline::error::Error;

async fn chat(client: &Arc<Client>) -> Result<(), Error> {
    let options = client.call_options(None).unwrap();
    client.call(Call { endpoint: Endpoint::Chat, body: request().to_string(), options }).await.map(drop)
}

/// Calls of many callers, for as long as `goes`.
fn load(client: &Arc<Client>, callers: usize, goes: &Arc<AtomicBool>, ended: &Arc<AtomicUsize>) {
    for _ in 0..callers {
        let (client, goes, ended) = (client.clone(), goes.clone(), ended.clone());
        tokio::spawn(async move {
            while goes.load(Ordering::Relaxed) {
                if chat(&client).await.is_ok() {
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_clients_under_one_limit_stay_at_it() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let limit = json!({ "rateLimit": { "requestsPerSecond": 100 }, "timeouts": { "queue": 60_000 } });
    let clients: Vec<_> = (0..4).map(|_| sharing(&upstream, &redis, limit.clone())).collect();
    let (goes, ended) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    clients.iter().for_each(|client| load(client, 20, &goes, &ended));
    // What a second's worth of burst may take is gone.
    until("the burst is over", || ended.load(Ordering::Relaxed) >= 200).await;
    let (from, before) = (Instant::now(), ended.load(Ordering::Relaxed));
    until("six hundred more", || ended.load(Ordering::Relaxed) >= before + 600).await;
    let rate = 600.0 / from.elapsed().as_secs_f64();
    goes.store(false, Ordering::Relaxed);
    assert!((95.0..=100.5).contains(&rate), "{rate} a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_of_all_clients_together() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({ "latency": 20 }));
    let limit = json!({ "concurrency": { "max": 6 } });
    let clients: Vec<_> = (0..3).map(|_| sharing(&upstream, &redis, limit.clone())).collect();
    let (goes, ended) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    clients.iter().for_each(|client| load(client, 10, &goes, &ended));
    let most = AtomicUsize::new(0);
    until("three hundred calls", || {
        let now: u64 = clients
            .iter()
            .map(|client| {
                serde_json::to_value(client.metrics()).unwrap()["pool"]["connections"]["active"]
                    .as_u64()
                    .unwrap()
            })
            .sum();
        most.fetch_max(usize::try_from(now).unwrap(), Ordering::Relaxed);
        ended.load(Ordering::Relaxed) >= 300
    })
    .await;
    goes.store(false, Ordering::Relaxed);
    let most = most.into_inner();
    assert!((4..=6).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn permits_that_are_lent_cost_no_round_trip() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let client = sharing(&upstream, &redis, json!({ "rateLimit": { "requestsPerSecond": 100_000 } }));
    for _ in 0..500 {
        chat(&client).await.unwrap();
    }
    let asked = scripts(&redis).await;
    assert!(asked < 250, "{asked} questions for 500 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_goes_by_its_own_count_until_it_is_back() {
    let Some(mut redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let limit = json!({ "rateLimit": { "requestsPerSecond": 1000 }, "concurrency": { "max": 4 } });
    let clients: Vec<_> = (0..2).map(|_| sharing(&upstream, &redis, limit.clone())).collect();
    let (goes, ended) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    clients.iter().for_each(|client| load(client, 8, &goes, &ended));
    let more = |n| {
        let (ended, wanted) = (ended.clone(), ended.load(Ordering::Relaxed) + n);
        async move { until("more calls", || ended.load(Ordering::Relaxed) >= wanted).await }
    };
    for _ in 0..2 {
        more(100).await;
        redis.stop().await;
        until("it is noticed", || clients.iter().all(|client| client.shared_problem().is_some())).await;
        more(100).await;
        redis.restart().await;
        until("it is noticed", || clients.iter().all(|client| client.shared_problem().is_none())).await;
    }
    more(100).await;
    goes.store(false, Ordering::Relaxed);
    assert!(scripts(&redis).await > 0);
    let all = upstream.requests().len();
    until("all calls have ended", || ended.load(Ordering::Relaxed) >= all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_is_sent_where_that_is_asked_for() {
    let Some(mut redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let limit = json!({
        "rateLimit": { "requestsPerSecond": 1000 },
        "shared": { "onUnavailable": "fail" },
        "retry": false,
    });
    let client = sharing(&upstream, &redis, limit.clone());
    chat(&client).await.unwrap();
    redis.stop().await;
    // What was lent may still be used; then it is noticed.
    while chat(&client).await.is_ok() {}
    let seen = upstream.requests().len();
    let later = sharing(&upstream, &redis, limit);
    for client in [&client, &later] {
        let error = chat(client).await.unwrap_err();
        assert_eq!(error.name_and_code(), ("SharedStateError", "ERR_SHARED"));
        assert!(error.retryable && error.message.contains("cannot be asked"), "{}", error.message);
    }
    assert_eq!(upstream.requests().len(), seen);
    redis.restart().await;
    until("it is back", || client.shared_problem().is_none() && later.shared_problem().is_none()).await;
    chat(&client).await.unwrap();
    chat(&later).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_redis_or_will_not_have_us_is_told_apart() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let port = upstream.url().rsplit(':').next().unwrap().to_owned();
    let own = redis.plain.to_string();
    let table = [
        (format!("redis://127.0.0.1:{port}"), "does not speak the protocol of Redis"),
        (format!("redis://u:SeCrEt@127.0.0.1:{own}"), "refuses the user or password"),
    ];
    for (url, what) in table {
        let options = json!({
            "rateLimit": { "requestsPerSecond": 1000 }, "shared": { "redis": url, "onUnavailable": "fail" },
        });
        let client = sharing(&upstream, &redis, options);
        let error = chat(&client).await.unwrap_err();
        assert!(error.message.contains(what) && !error.message.contains("SeCrEt"), "{}", error.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_gives_back_its_places() {
    let Some(redis) = redis("").await else { return };
    let upstream = start(json!({}));
    let limit = json!({ "concurrency": { "max": 1 } });
    let one = sharing(&upstream, &redis, limit.clone());
    chat(&one).await.unwrap();
    drop(one);
    let other = sharing(&upstream, &redis, limit);
    let began = Instant::now();
    chat(&other).await.unwrap();
    // It need not have waited for the time of the place to run out.
    assert!(began.elapsed() < Duration::from_secs(4));
}

//! Limits that several clients keep together through a real Redis. Each client is to Redis what a process is.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/peer.rs"]
mod peer;
#[path = "support/client.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use peer::Peer;
use serde_json::{Value, json};
use support::*;
use tokio::time::Instant;
use trunkline::client::{Call, Client, Endpoint};
use trunkline::error::Error;
use trunkline::mock::MockUpstream;
use trunkline::pool::Tasks;

/// None where there is no Redis on this machine.
async fn redis() -> Option<Peer> {
    if !peer::has("redis-server") {
        return None;
    }
    let arguments = |place: &peer::Place| vec![place.dir.join("conf").display().to_string()];
    let configure = |place: &peer::Place| {
        format!("port {}\nbind 127.0.0.1\nsave \"\"\ndir {}", place.plain, place.dir.display())
    };
    Some(Peer::start_on("redis-server", 1, arguments, configure).await)
}

fn url(redis: &Peer) -> String {
    format!("redis://127.0.0.1:{}", redis.plain)
}

fn sharing(upstream: &MockUpstream, redis: &Peer, more: Value) -> Arc<Client> {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    client_of(&upstream.url(), merge(json!({ "shared": { "redis": url(redis) } }), more), &tasks)
}

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
    let Some(redis) = redis().await else { return };
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
    let Some(redis) = redis().await else { return };
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
    println!("most {most:?}");
}

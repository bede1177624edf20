//! A real Redis, and clients that share it.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::sync::Arc;

use serde_json::{Value, json};
use trunkline::client::Client;
use trunkline::mock::MockUpstream;
use trunkline::pool::Tasks;

use crate::peer::{self, Peer};
use crate::support::{client_of, merge};

/// A server of the test's own, with these lines more in its configuration. None where there is none on this machine.
pub async fn redis(more: &'static str) -> Option<Peer> {
    if !peer::has("redis-server") {
        return None;
    }
    let arguments = |place: &peer::Place| vec![place.dir.join("conf").display().to_string()];
    let configure = move |place: &peer::Place| {
        format!("port {}\nbind 127.0.0.1\nsave \"\"\ndir {}\n{more}", place.plain, place.dir.display())
    };
    Some(Peer::start_on("redis-server", 1, arguments, configure).await)
}

pub fn url(redis: &Peer) -> String {
    format!("redis://127.0.0.1:{}", redis.plain)
}

pub fn sharing(upstream: &MockUpstream, redis: &Peer, more: Value) -> Arc<Client> {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    client_of(&upstream.url(), merge(json!({ "shared": { "redis": url(redis) } }), more), &tasks)
}

/// How many scripts were run.
pub async fn scripts(redis: &Peer) -> u64 {
    let client = redis::Client::open(url(redis)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

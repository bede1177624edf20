#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/load.rs"]
mod load;
#[path = "../support/peer.rs"]
mod peer;
#[path = "../support/redis.rs"]
mod shared;
#[path = "../support/client.rs"]
mod support;

mod haproxy;
mod nginx;
mod redis_budget;
mod redis_cache;
mod redis_circuits;
mod redis_limits;
mod scenes;

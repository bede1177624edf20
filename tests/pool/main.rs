#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/proxies.rs"]
mod proxies;
#[path = "../support/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod backoff;
mod bad_servers;
mod cancel;
mod clock;
mod close;
mod closed;
mod connect;
mod dns;
mod events;
mod h1;
mod h1_keepalive;
mod h2;
mod h2_end;
mod h2_goaway;
mod h2_ping;
mod h2_quota;
mod h2_shutdown;
mod h2_untold;
mod h2_windows;
mod happy_eyeballs;
mod last_words;
mod limits;
mod model;
mod origins;
mod partitions;
mod priorities;
mod proxy;
mod queue;
mod reasons;
mod tls;
mod unix;

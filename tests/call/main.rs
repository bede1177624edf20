#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/keyed.rs"]
mod keyed;
#[path = "../support/routes.rs"]
mod routes;
#[path = "../support/client.rs"]
mod support;

mod adaptive;
mod answers;
mod budget;
mod cache;
mod cancel;
mod cassette;
mod circuits;
mod close;
mod common;
mod costs;
mod count;
mod embed;
mod fetch;
mod hedge;
mod idle_server;
mod keys;
mod limits;
mod outlet;
mod priorities;
mod protocols;
mod recover;
mod reservations;
mod retry;
mod routing;
mod shared;
mod stream;
mod table;
mod targets;
mod timeouts;
mod turns;
mod witness;
mod words;

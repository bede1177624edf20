#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adaptive;
mod alerts;
mod breaker;
mod hedge;
mod judge;
mod keys;
mod money;
mod rate;
mod rate_learned;
mod retry_budget;
mod route;
mod turns;

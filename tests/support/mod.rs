//! Small helpers to call through a pool, over a network of memory.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

pub mod frames;
mod net;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use trunkline::pool::{Checkout, Config, Error, Kind, Lease, Origin, Pool, Protocol, RequestBody, Tasks};

pub use self::net::{Net, Plan};

pub const LONG: Duration = Duration::from_secs(30);
/// Longer than any test should take; a broken promise ends there.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn origin(url: &str) -> Origin {
    Origin::of(&url.parse().unwrap()).unwrap()
}

pub fn config(all: usize, by_origin: usize) -> Config {
    Config {
        max_connections: all.try_into().unwrap(),
        max_connections_per_origin: by_origin.try_into().unwrap(),
        max_idle_connections: all,
        ..Config::default()
    }
}

pub fn how() -> Checkout {
    Checkout { queue_timeout: LONG, connect_timeout: LONG, ..Checkout::default() }
}

pub fn within(queue_timeout: Duration) -> Checkout {
    Checkout { queue_timeout, ..how() }
}

pub async fn lease(pool: &Pool, origin: &Origin) -> Lease {
    pool.checkout(origin, how()).await.unwrap()
}

pub fn request(lease: &Lease, path: &str) -> Request<RequestBody> {
    let uri = match lease.protocol() {
        Protocol::H1 => path.to_owned(),
        Protocol::H2 => format!("https://a.test{path}"),
    };
    Request::post(uri).header("host", "a.test").body(RequestBody::Whole("question".into())).unwrap()
}

/// Sends and reads to the end.
pub async fn exchange(lease: Lease, path: &str) -> Result<Bytes, Error> {
    let request = request(&lease, path);
    Ok(lease.send(request).await?.into_body().collect().await?.to_bytes())
}

/// Checkout, send, read to the end.
pub async fn get(pool: &Pool, origin: &Origin, path: &str) -> Result<Bytes, Error> {
    exchange(pool.checkout(origin, how()).await?, path).await
}

/// The same; again, up to three times, where the request was not processed.
pub async fn get_in_the_end(pool: &Pool, origin: &Origin, path: &str) -> Result<Bytes, Error> {
    for _ in 0..3 {
        match get(pool, origin, path).await {
            Err(error) if matches!(error.kind(), Kind::Refused | Kind::Unprocessed) => {}
            ended => return ended,
        }
    }
    get(pool, origin, path).await
}

/// Waits for what nothing tells.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let patient = async {
        loop {
            for _ in 0..100 {
                if condition() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            // Under virtual time only a runtime without work moves the clock.
            tokio::time::sleep(Duration::from_micros(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, patient).await.is_ok(), "never: {what}");
}

/// Lets every task that can run do so, without moving a paused clock.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub fn waiting(pool: &Pool) -> usize {
    pool.snapshot().origins.iter().map(|origin| origin.waiting).sum()
}

/// All that was taken has come back, and the figures say what the connector saw.
pub async fn whole(pool: &Pool, net: &Net) {
    until("everything given back", || {
        let now = pool.snapshot();
        let c = now.connections;
        (c.active, c.connecting, c.draining, now.streams.active, waiting(pool)) == (0, 0, 0, 0, 0)
            && c.idle == net.open()
    })
    .await;
    let now = pool.snapshot();
    assert_eq!(now.opened, net.opened() as u64);
    assert_eq!(now.closed.values().sum::<u64>(), net.closed() as u64);
    assert_eq!(net.over_limit(), 0);
}

/// The last handle goes, and nothing stays.
pub async fn nothing_left(pool: Pool, net: &Net, tasks: &Tasks) {
    drop(pool);
    until("no task left", || tasks.running() == 0 && net.open() == 0).await;
}

pub fn streams(limit: usize, settings: Config) -> Config {
    Config { max_streams_per_connection: limit.try_into().unwrap(), ..settings }
}

/// A whole call to `https://a.test` that runs by itself.
pub fn call(pool: &Pool, path: &'static str) -> JoinHandle<Result<Bytes, Error>> {
    let pool = pool.clone();
    tokio::spawn(async move { get(&pool, &origin("https://a.test"), path).await })
}

/// A checkout that runs by itself; queued once this returns.
pub async fn queued(pool: &Pool, site: &Origin, how: Checkout) -> JoinHandle<Result<Lease, Error>> {
    let (pool, site) = (pool.clone(), site.clone());
    let task = tokio::spawn(async move { pool.checkout(&site, how).await });
    settle().await;
    task
}

pub async fn kind_of(task: JoinHandle<Result<Lease, Error>>) -> Kind {
    task.await.unwrap().unwrap_err().kind()
}

#![expect(clippy::print_stdout, reason = "a test that fails says with which seed")]

//! Callers who leave, at every stage and at the limits, a hundred thousand times: nothing is lost with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;
use http_body_util::BodyExt;
use trunkline::pool::{Checkout, Config, Error, Kind, Lane, Origin, Pool, Priority, Tasks, Tenant};

const PATHS: [&str; 5] = ["/", "/slow", "/endless", "/hang", "/large"];
const STAGES: usize = 5;

/// Prints its seed when the test fails.
struct Seed(u64);

impl Seed {
    fn new() -> Self {
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        Self(seed)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SEED={}", self.0);
        }
    }
}

/// One call that may be dropped at any await; says how far it came.
async fn one_call(
    pool: &Pool,
    site: &Origin,
    how: Checkout,
    path: &str,
    stage: &AtomicUsize,
) -> Result<(), Error> {
    let lease = pool.checkout(site, how).await?;
    stage.store(1, Ordering::Relaxed);
    tokio::task::yield_now().await;
    let request = request(&lease, path);
    let sending = lease.send(request);
    stage.store(2, Ordering::Relaxed);
    let mut body = sending.await?.into_body();
    stage.store(3, Ordering::Relaxed);
    tokio::task::yield_now().await;
    while let Some(frame) = body.frame().await {
        frame?;
        stage.store(4, Ordering::Relaxed);
    }
    Ok(())
}

/// `calls` calls over three origins, most of them dropped after a random time. Returns how many left at which stage.
async fn storm(pool: &Pool, calls: usize, seed: u64, real: bool) -> [usize; STAGES] {
    let left: Arc<[AtomicUsize; STAGES]> = Arc::default();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..calls {
        // Now there is room for all, and now a crowd.
        while tasks.len() >= [4, 8, 20, 200][n / 100 % 4] {
            tasks.join_next().await.unwrap().unwrap();
        }
        let (pool, left) = (pool.clone(), left.clone());
        let mut random = random.fork();
        tasks.spawn(async move {
            let site = origin(["http://a.test", "https://b.test", "https://c.test"][n % 3]);
            let how = Checkout {
                queue_timeout: Duration::from_millis(random.u64(1..200)),
                connect_timeout: Duration::from_millis(random.u64(1..100)),
                fresh: random.u8(..) < 16,
                priority: *random.choice(&Priority::ALL).unwrap(),
                lane: if random.bool() { Lane::Streaming } else { Lane::Unary },
                tenant: random.choice(&[None, Some("a"), Some("b")]).unwrap().map(Tenant::new),
                ..how()
            };
            let stage = AtomicUsize::new(0);
            let path = random.choice(PATHS).unwrap();
            let call = one_call(&pool, &site, how, path, &stage);
            let leave = async {
                if real {
                    for _ in 0..random.u32(0..60) {
                        tokio::task::yield_now().await;
                    }
                    if random.bool() {
                        tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
                    }
                } else if random.bool() {
                    for _ in 0..random.u32(0..20) {
                        tokio::task::yield_now().await;
                    }
                } else {
                    tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await;
                }
            };
            tokio::select! {
                biased;
                done = call => match done.map_err(|error| error.kind()) {
                    Ok(())
                    | Err(Kind::QueueTimeout(_) | Kind::ConnectTimeout(_) | Kind::Connect)
                    // A peer may hang up whenever it likes, and is given more streams than it takes before it has said so.
                    | Err(Kind::Unprocessed | Kind::Refused | Kind::NoResponse { .. } | Kind::Body) => {}
                    Err(other) => panic!("{other:?}"),
                },
                () = leave => {
                    left[stage.load(Ordering::Relaxed)].fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    std::array::from_fn(|stage| left[stage].load(Ordering::Relaxed))
}

/// a and c over HTTP/1.1, b over HTTP/2; some connects fail, some never come to an end.
fn net(settings: &Config) -> Net {
    let net = Net::new(|site, number| match number % 17 {
        3 => Plan::Fail(Kind::Connect),
        5 => Plan::Never,
        _ if site.to_string().contains('b') => Plan::H2(4),
        _ => Plan::H1,
    });
    net.delayed(Duration::from_millis(1)).watching(settings)
}

fn settings() -> Config {
    Config {
        max_idle_connections: 3,
        // The reaper takes part.
        idle_timeout: Duration::from_millis(400),
        ..config(6, 4)
    }
}

/// The scripted failures go on after the storm.
fn patient() -> Checkout {
    Checkout { connect_timeout: Duration::from_millis(100), ..how() }
}

/// After the storm: every place of every origin can be taken at once, and nothing else lives.
async fn check(pool: Pool, net: Arc<Net>, tasks: Tasks) {
    whole(&pool, &net).await;
    for name in ["http://a.test", "https://b.test", "https://c.test"] {
        let site = origin(name);
        let mut held = Vec::new();
        while held.len() < 4 {
            if let Ok(lease) = pool.checkout(&site, patient()).await {
                held.push(lease);
            }
        }
        drop(held);
        while one_call(&pool, &site, patient(), "/", &AtomicUsize::new(0)).await.is_err() {}
    }
    whole(&pool, &net).await;
    let now = pool.snapshot();
    assert!(now.connections.peak <= 6 && net.peak() <= 6);
    // The reaper, and a few for each connection.
    until("the tasks settle", || tasks.running() <= 1 + 2 * net.open()).await;
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn callers_who_leave_take_nothing_with_them_in_virtual_time() {
    let seed = Seed::new();
    let settings = settings();
    let (pool, net, tasks) = net(&settings).pool(settings);
    let left = storm(&pool, 80_000, seed.0, false).await;
    assert!(left.iter().all(|count| *count > 10), "{left:?}");
    check(pool, net, tasks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_who_leave_take_nothing_with_them_on_many_threads() {
    let seed = Seed::new();
    let settings = settings();
    let (pool, net, tasks) = net(&settings).pool(settings);
    let left = storm(&pool, 20_000, seed.0, true).await;
    assert!(left.iter().all(|count| *count > 10), "{left:?}");
    check(pool, net, tasks).await;
}

/// Without a caller who leaves and without a failure, every call is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_on_many_threads() {
    let settings = settings();
    let net = Net::new(|site, _| match site.to_string().contains('b') {
        true => Plan::H2(4),
        false => Plan::H1,
    });
    let (pool, net, tasks) = net.watching(&settings).pool(settings);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..3000 {
        let pool = pool.clone();
        let site = origin(["http://a.test", "https://b.test", "https://c.test"][n % 3]);
        calls.spawn(async move { get(&pool, &site, "/").await.unwrap() });
    }
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap(), "ok");
    }
    check(pool, net, tasks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_the_pool_in_the_middle_of_everything_leaves_nothing() {
    let seed = Seed::new();
    let mut random = fastrand::Rng::with_seed(seed.0);
    for _ in 0..30 {
        let settings = settings();
        let (pool, net, tasks) = net(&settings).pool(settings);
        let mut calls = tokio::task::JoinSet::new();
        for n in 0..60 {
            let pool = pool.clone();
            let site = origin(["http://a.test", "https://b.test", "https://c.test"][n % 3]);
            calls
                .spawn(async move { one_call(&pool, &site, patient(), "/slow", &AtomicUsize::new(0)).await });
        }
        for _ in 0..random.u32(0..2000) {
            tokio::task::yield_now().await;
        }
        pool.close();
        while let Some(call) = calls.join_next().await {
            let _ = call.unwrap();
        }
        pool.closed().await;
        nothing_left(pool, &net, &tasks).await;
    }
}

//! What is measured. Each row has a runtime of one thread and a pool of its own, and checks that what it measures was done.

use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, unconstrained, yield_now};
use trunkline_pool::pool::{Lease, Origin, Pool, Protocol};

use crate::net::{Net, config, exchange, how, lease, origins};

pub struct Row {
    pub id: String,
    pub title: String,
    pub unit: Unit,
    /// What is wanted of it, in its unit.
    pub goal: Option<f64>,
    /// One measurement: what one of it took.
    pub round: Box<dyn FnMut() -> Duration>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    Nanos,
    Micros,
    PerSecond,
}

/// How much of it.
pub struct Scale {
    pub calls: usize,
    pub exchanges: usize,
    pub waiters: usize,
    /// The limit of all connections, where it is to be reached.
    pub limit: usize,
    pub origins: Vec<usize>,
}

impl Scale {
    pub fn whole() -> Self {
        Self { calls: 20_000, exchanges: 2_000, waiters: 10_000, limit: 200, origins: vec![1, 10, 100, 1000] }
    }

    /// Only to see that it works.
    pub fn smoke() -> Self {
        Self { calls: 20, exchanges: 20, waiters: 100, limit: 5, origins: vec![1, 10] }
    }
}

pub fn rows(scale: &Scale) -> Vec<Row> {
    let (calls, waiters) = (scale.calls, scale.waiters);
    let most = *scale.origins.last().unwrap();
    let mut rows = vec![
        row("pair-h1", "an idle socket, taken and given back", Unit::Nanos, Some(1000.0), pairs(Protocol::H1, calls)),
        row("pair-h2", "a free stream, taken and given back", Unit::Nanos, Some(1000.0), pairs(Protocol::H2, calls)),
        row("drain-h1", "waiters served in order, 1 socket", Unit::PerSecond, Some(200_000.0), drain(Protocol::H1, 1, waiters)),
        row("drain-h2", "waiters served in order, 100 streams", Unit::PerSecond, Some(200_000.0), drain(Protocol::H2, 100, waiters)),
        row("drain-semaphore", "the same with a semaphore of tokio alone", Unit::PerSecond, None, drain_semaphore(waiters)),
        row("join", "to join the queue", Unit::Nanos, None, queue(waiters, Timed::Join)),
        row("leave", "to leave the queue, in any order", Unit::Nanos, None, queue(waiters, Timed::Leave)),
        row("snapshot", &format!("snapshot of {most} origins"), Unit::Micros, Some(50.0), snapshot(most)),
    ];
    for &count in &scale.origins {
        let title = format!("taken and given back, {count} origins");
        rows.push(row(&format!("pair-{count}"), &title, Unit::Nanos, None, pairs_over(count, 2 * count, calls)));
    }
    for &count in &scale.origins {
        let title = format!("the same, {count} origins and as many sockets allowed");
        rows.push(row(&format!("full-{count}"), &title, Unit::Nanos, None, pairs_over(count, count, calls / 10)));
    }
    for &count in &scale.origins {
        let title = format!("a whole exchange, {count} origins");
        rows.push(row(&format!("exchange-{count}"), &title, Unit::Micros, None, exchanges(count, scale.exchanges)));
    }
    for count in [scale.limit + 1, 2 * scale.limit, 5 * scale.limit] {
        let title = format!("the least recently used of {} sockets gives way, {count} origins", scale.limit);
        rows.push(row(&format!("evict-{count}"), &title, Unit::Micros, None, evictions(count, scale.limit, scale.exchanges / 4)));
    }
    rows
}

fn row(id: &str, title: &str, unit: Unit, goal: Option<f64>, round: impl FnMut() -> Duration + 'static) -> Row {
    Row { id: id.into(), title: title.into(), unit, goal, round: Box::new(round) }
}

/// A lease that is dropped unused goes back as it came: there is no I/O in this.
fn pairs(protocol: Protocol, calls: usize) -> impl FnMut() -> Duration {
    let runtime = runtime();
    let site = origins(protocol, 1).remove(0);
    let (pool, net) = runtime.block_on(async {
        let (pool, net) = Net::pool(protocol, config(1));
        drop(lease(&pool, &site).await);
        settle().await;
        (pool, net)
    });
    move || {
        let time = runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..calls {
                drop(lease(&pool, &site).await);
            }
            started.elapsed()
        });
        assert_eq!(net.connects(), 1);
        each(time, calls)
    }
}

/// The origins in turn, each with an idle socket.
fn pairs_over(count: usize, limit: usize, calls: usize) -> impl FnMut() -> Duration {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, net) = runtime.block_on(opened(&sites, limit));
    move || {
        let time = runtime.block_on(async {
            let started = Instant::now();
            for site in sites.iter().cycle().take(calls) {
                drop(lease(&pool, site).await);
            }
            started.elapsed()
        });
        assert_eq!(net.connects(), count);
        each(time, calls)
    }
}

fn exchanges(count: usize, calls: usize) -> impl FnMut() -> Duration {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, net) = runtime.block_on(opened(&sites, 2 * count));
    move || {
        let time = runtime.block_on(async {
            let started = Instant::now();
            for site in sites.iter().cycle().take(calls) {
                exchange(lease(&pool, site).await).await;
            }
            started.elapsed()
        });
        assert_eq!(net.connects(), count);
        each(time, calls)
    }
}

/// More origins than sockets, in turn: each call closes the socket that has rested longest, and opens one.
fn evictions(count: usize, limit: usize, calls: usize) -> impl FnMut() -> Duration {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, net) = runtime.block_on(opened(&sites, limit));
    let mut next = 0;
    move || {
        let before = net.connects();
        let time = runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..calls {
                drop(lease(&pool, &sites[next]).await);
                next = (next + 1) % count;
            }
            started.elapsed()
        });
        assert_eq!(net.connects() - before, calls);
        each(time, calls)
    }
}

/// All places of one connection are held while the waiters queue up; each of them gives on at once what it gets.
fn drain(protocol: Protocol, places: usize, waiters: usize) -> impl FnMut() -> Duration {
    let runtime = runtime();
    let site = origins(protocol, 1).remove(0);
    let (pool, net) = runtime.block_on(async { Net::pool(protocol, config(1)) });
    move || {
        let time = runtime.block_on(async {
            let mut held = Vec::new();
            for _ in 0..places {
                held.push(lease(&pool, &site).await);
            }
            let served = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..waiters).map(|n| waiter(&pool, &site, n, &served)).collect();
            settle().await;
            assert_eq!(waiting(&pool), waiters);
            time_of(tasks, || drop(held)).await
        });
        assert_eq!((net.connects(), waiting(&pool)), (1, 0));
        each(time, waiters)
    }
}

fn waiter(pool: &Pool, site: &Origin, n: usize, served: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let (pool, site, served) = (pool.clone(), site.clone(), served.clone());
    tokio::spawn(async move {
        let _lease = lease(&pool, &site).await;
        assert_eq!(served.fetch_add(1, Ordering::Relaxed), n, "out of order");
    })
}

/// The least that a queue in order costs: tasks that wake each other.
fn drain_semaphore(waiters: usize) -> impl FnMut() -> Duration {
    let runtime = runtime();
    let semaphore = Arc::new(Semaphore::new(1));
    move || {
        let time = runtime.block_on(async {
            let held = semaphore.clone().acquire_owned().await.unwrap();
            let served = Arc::new(AtomicUsize::new(0));
            let wait = |n| {
                let (semaphore, served) = (semaphore.clone(), served.clone());
                tokio::spawn(async move {
                    let _permit = semaphore.acquire().await.unwrap();
                    assert_eq!(served.fetch_add(1, Ordering::Relaxed), n, "out of order");
                })
            };
            let tasks: Vec<_> = (0..waiters).map(wait).collect();
            settle().await;
            time_of(tasks, || drop(held)).await
        });
        each(time, waiters)
    }
}

async fn time_of(tasks: Vec<JoinHandle<()>>, start: impl FnOnce()) -> Duration {
    let started = Instant::now();
    start();
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed()
}

#[derive(PartialEq)]
enum Timed {
    Join,
    Leave,
}

/// Waiters that come, and leave before they got anything.
fn queue(waiters: usize, timed: Timed) -> impl FnMut() -> Duration {
    /// Without a common factor with the number of waiters, so that it meets each of them.
    const STRIDE: usize = 7919;
    let runtime = runtime();
    let site = origins(Protocol::H1, 1).remove(0);
    let (pool, net) = runtime.block_on(async { Net::pool(Protocol::H1, config(1)) });
    move || {
        let (join, leave) = runtime.block_on(unconstrained(async {
            let held: Lease = lease(&pool, &site).await;
            let mut cx = Context::from_waker(Waker::noop());
            let mut queue: Vec<_> =
                (0..waiters).map(|_| Some(Box::pin(pool.checkout(&site, how())))).collect();
            let started = Instant::now();
            for waiter in queue.iter_mut().flatten() {
                assert!(waiter.as_mut().poll(&mut cx).is_pending());
            }
            let join = started.elapsed();
            assert_eq!(waiting(&pool), waiters);
            let started = Instant::now();
            for n in 0..waiters {
                drop(queue[n * STRIDE % waiters].take());
            }
            let leave = started.elapsed();
            assert_eq!(waiting(&pool), 0);
            drop(held);
            (join, leave)
        }));
        assert_eq!(net.connects(), 1);
        each(if timed == Timed::Join { join } else { leave }, waiters)
    }
}

fn snapshot(count: usize) -> impl FnMut() -> Duration {
    const TIMES: usize = 20;
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, _net) = runtime.block_on(opened(&sites, 2 * count));
    move || {
        let mut time = Duration::ZERO;
        for _ in 0..TIMES {
            let started = Instant::now();
            let snapshot = black_box(pool.snapshot());
            time += started.elapsed();
            assert_eq!(snapshot.connections.idle, count);
        }
        // Its reaper goes on.
        let _runtime = &runtime;
        each(time, TIMES)
    }
}

/// A pool that has been at each of the origins.
async fn opened(sites: &[Origin], limit: usize) -> (Pool, Arc<Net>) {
    let (pool, net) = Net::pool(Protocol::H1, config(limit));
    for site in sites {
        drop(lease(&pool, site).await);
    }
    settle().await;
    (pool, net)
}

fn waiting(pool: &Pool) -> usize {
    pool.snapshot().origins.iter().map(|origin| origin.waiting).sum()
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..1000 {
        yield_now().await;
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn each(time: Duration, count: usize) -> Duration {
    // Of so few that a Duration's whole nanoseconds would be too coarse there is none.
    time / u32::try_from(count).unwrap()
}

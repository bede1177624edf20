//! How it is measured: each row has a runtime of one thread and a pool of its own, and checks that what it measures was done.

use std::future::Future;
use std::hint::{self, black_box};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, unconstrained, yield_now};
use trunkline_pool::pool::{Lease, Origin, Pool, Protocol};

use crate::net::{Net, Way, bare, bare_exchange, config, exchange, how, lease, origins};

/// One measurement: what each of it took.
pub(crate) type Round = Box<dyn FnMut() -> Duration>;

/// A lease that is dropped unused goes back as it came: there is no I/O in this.
pub(crate) fn pairs(protocol: Protocol, calls: usize) -> Round {
    let runtime = runtime();
    let site = origins(protocol, 1).remove(0);
    let (pool, net) = runtime.block_on(async {
        let (pool, net) = Net::pool(protocol, config(1));
        drop(lease(&pool, &site).await);
        settle().await;
        (pool, net)
    });
    Box::new(move || {
        let time = runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..calls {
                drop(lease(&pool, &site).await);
            }
            started.elapsed()
        });
        assert_eq!(net.connects(), 1);
        each(time, calls)
    })
}

/// The origins in turn, each with an idle socket.
pub(crate) fn pairs_over(count: usize, limit: usize, calls: usize) -> Round {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, net) = runtime.block_on(opened(&sites, limit));
    Box::new(move || {
        let time = runtime.block_on(async {
            // Not counted: the other rows have had the processor's caches.
            for site in &sites {
                drop(lease(&pool, site).await);
            }
            let started = Instant::now();
            for site in sites.iter().cycle().take(calls) {
                drop(lease(&pool, site).await);
            }
            started.elapsed()
        });
        assert_eq!(net.connects(), count);
        each(time, calls)
    })
}

pub(crate) fn calls_over(count: usize, calls: usize, way: Way) -> Round {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, net) = runtime.block_on(async {
        match way {
            Way::Pipes => opened(&sites, 2 * count).await,
            Way::Sockets => Net::pool_of_sockets(config(2 * count)).await,
        }
    });
    Box::new(move || {
        let time = runtime.block_on(async {
            // Not counted: the other rows have had the processor's caches.
            for site in &sites {
                exchange(&pool, site).await;
            }
            let started = Instant::now();
            for site in sites.iter().cycle().take(calls) {
                exchange(&pool, site).await;
            }
            started.elapsed()
        });
        assert_eq!(net.connects(), count);
        each(time, calls)
    })
}

pub(crate) fn bare_calls(count: usize, calls: usize, way: Way) -> Round {
    let runtime = runtime();
    let mut senders = runtime.block_on(bare(count, way));
    Box::new(move || {
        let time = runtime.block_on(async {
            for sender in &mut senders {
                bare_exchange(sender).await;
            }
            let started = Instant::now();
            for n in 0..calls {
                bare_exchange(&mut senders[n % count]).await;
            }
            started.elapsed()
        });
        each(time, calls)
    })
}

/// More origins than sockets, in turn: each call closes the socket that has rested longest, and opens one.
pub(crate) fn evictions(count: usize, limit: usize, calls: usize) -> Round {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, net) = runtime.block_on(opened(&sites, limit));
    let mut next = 0;
    Box::new(move || {
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
    })
}

/// All places of one connection are held while the waiters queue up; each of them gives on at once what it gets.
pub(crate) fn drain(protocol: Protocol, places: usize, waiters: usize) -> Round {
    let runtime = runtime();
    let site = origins(protocol, 1).remove(0);
    let (pool, net) = runtime.block_on(async { Net::pool(protocol, config(1)) });
    Box::new(move || {
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
    })
}

fn waiter(pool: &Pool, site: &Origin, n: usize, served: &Arc<AtomicUsize>) -> JoinHandle<()> {
    let (pool, site, served) = (pool.clone(), site.clone(), served.clone());
    tokio::spawn(async move {
        let _lease = lease(&pool, &site).await;
        assert_eq!(served.fetch_add(1, Ordering::Relaxed), n, "out of order");
    })
}

/// The least that a queue in order costs: tasks that wake each other.
pub(crate) fn drain_semaphore(waiters: usize) -> Round {
    let runtime = runtime();
    let semaphore = Arc::new(Semaphore::new(1));
    Box::new(move || {
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
    })
}

/// One waiter for each of more origins than there may be sockets, which are all held while they queue up.
pub(crate) fn drain_origins(count: usize, limit: usize) -> Round {
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let holder = Origin::of(&"http://holder.example.com".parse().unwrap()).unwrap();
    let (pool, _net) = runtime.block_on(async { Net::pool(Protocol::H1, config(limit)) });
    Box::new(move || {
        let time = runtime.block_on(async {
            let mut held = Vec::new();
            for _ in 0..limit {
                held.push(lease(&pool, &holder).await);
            }
            let wait = |site: &Origin| {
                let (pool, site) = (pool.clone(), site.clone());
                tokio::spawn(async move { drop(lease(&pool, &site).await) })
            };
            let tasks: Vec<_> = sites.iter().map(wait).collect();
            settle().await;
            assert_eq!(waiting(&pool), count);
            time_of(tasks, || drop(held)).await
        });
        assert_eq!(waiting(&pool), 0);
        each(time, count)
    })
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
pub(crate) enum Timed {
    Join,
    Leave,
}

/// Waiters that come, and leave before they got anything.
pub(crate) fn queue(waiters: usize, timed: Timed) -> Round {
    /// Without a common factor with the number of waiters, so that it meets each of them.
    const STRIDE: usize = 7919;
    let runtime = runtime();
    let site = origins(Protocol::H1, 1).remove(0);
    let (pool, net) = runtime.block_on(async { Net::pool(Protocol::H1, config(1)) });
    Box::new(move || {
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
    })
}

pub(crate) fn snapshot(count: usize) -> Round {
    const TIMES: usize = 20;
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, _net) = runtime.block_on(opened(&sites, 2 * count));
    Box::new(move || {
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
    })
}

/// Tells how long a snapshot holds the lock, the waking included: as long nobody gets a lease.
pub(crate) fn beside_snapshot(count: usize) -> Round {
    const TIMES: usize = 20;
    let runtime = runtime();
    let sites = origins(Protocol::H1, count);
    let (pool, _net) = runtime.block_on(opened(&sites, 2 * count));
    Box::new(move || {
        let mut longest = [Duration::ZERO; TIMES];
        let (wanted, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            // It spins, or its waking could take the place of the very thread that is to meet it.
            scope.spawn(|| {
                for number in 1..=TIMES {
                    while wanted.load(Ordering::Acquire) < number {
                        hint::spin_loop();
                    }
                    black_box(pool.snapshot());
                    taken.store(number, Ordering::Release);
                }
            });
            runtime.block_on(async {
                for (number, longest) in (1..).zip(&mut longest) {
                    wanted.store(number, Ordering::Release);
                    while taken.load(Ordering::Acquire) < number {
                        let started = Instant::now();
                        drop(lease(&pool, &sites[0]).await);
                        *longest = started.elapsed().max(*longest);
                    }
                }
            });
        });
        longest.sort_unstable();
        longest[TIMES / 2]
    })
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
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn each(time: Duration, count: usize) -> Duration {
    // Of so few that a Duration's whole nanoseconds would be too coarse there is none.
    time / u32::try_from(count).unwrap()
}

//! Who listens is told of every connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{LONG, Net, call, exchange, get, lease, nothing_left, origin, request};
use trunkline::pool::{Change, Config, Event, Listener, Pool, Protocol};

const SITE: &str = "https://a.test";

/// The reaper, which looks in each quarter of the idle timeout, is soon gone.
fn config(max_idle_connections: usize) -> Config {
    Config { max_idle_connections, idle_timeout: Duration::from_secs(1), ..crate::support::config(4, 4) }
}

fn listen(pool: &Pool) -> (Listener, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let counted = woken.clone();
    let wake = Box::new(move |_: &_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    (pool.listen(wake), woken)
}

/// How many opened, and what closed by its reason; each that closed had opened before.
fn counted(events: &[Event]) -> (usize, BTreeMap<&'static str, u64>) {
    let mut open = HashMap::new();
    let (mut opened, mut closed) = (0, BTreeMap::new());
    for event in events {
        assert_eq!(event.origin, origin(SITE));
        match event.change {
            Change::Opened { .. } => {
                opened += 1;
                assert!(open.insert(event.id, event.protocol).is_none(), "opened twice");
            }
            Change::Closed { reason } => {
                assert_eq!(open.remove(&event.id), Some(event.protocol), "closed, and was not open");
                *closed.entry(reason.as_str()).or_default() += 1;
            }
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    (opened, closed)
}

#[tokio::test(start_paused = true)]
async fn events_are_what_the_figures_and_the_network_say() {
    for (net, protocol) in [(Net::h1(), Protocol::H1), (Net::h2(3), Protocol::H2)] {
        let (pool, net, tasks) = net.pool(config(2));
        let (listener, woken) = listen(&pool);
        let site = origin(SITE);
        let calls: Vec<_> = (0..40).map(|_| call(&pool, "/")).collect();
        for done in calls {
            done.await.unwrap().unwrap();
        }
        // One that leaves in the middle of an answer.
        let lease = lease(&pool, &site).await;
        let asked = request(&lease, "/gated");
        assert!(tokio::time::timeout(LONG, lease.send(asked)).await.is_err());
        pool.close();
        pool.closed().await;
        // By the end of the close, and not some time after it.
        let (events, lost) = listener.take();
        assert!(events.iter().all(|event| event.protocol == protocol));
        let (opened, closed) = counted(&events);
        let figures = pool.snapshot();
        assert_eq!((opened, opened as u64), (net.opened(), figures.opened));
        assert_eq!(closed.values().sum::<u64>(), figures.opened, "every close has a reason");
        let by_reason = figures.closed.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(closed, by_reason);
        assert_eq!((lost, woken.load(Ordering::Relaxed)), (0, 1));
        nothing_left(pool, &net, &tasks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_never_comes_holds_nobody_up() {
    let (pool, net, tasks) = Net::h1().pool(config(0));
    let (listener, woken) = listen(&pool);
    for _ in 0..1_000 {
        get(&pool, &origin(SITE), "/").await.unwrap();
    }
    pool.close();
    pool.closed().await;
    let (kept, lost) = listener.take();
    assert_eq!(kept.len() + lost as usize, net.opened() + net.closed());
    assert!(lost > 0);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    drop(listener);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn who_came_later_or_has_gone_is_not_told() {
    let (pool, net, tasks) = Net::h1().pool(config(4));
    let site = origin(SITE);
    let (early, woken) = listen(&pool);
    let held = lease(&pool, &site).await;
    assert_eq!(early.take().0.len(), 1);
    let (late, _) = listen(&pool);
    drop(early);
    exchange(held, "/").await.unwrap();
    pool.close();
    pool.closed().await;
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    let (events, _) = late.take();
    assert!(matches!(events[..], [Event { change: Change::Closed { .. }, .. }]), "{events:?}");
    drop(late);
    nothing_left(pool, &net, &tasks).await;
}

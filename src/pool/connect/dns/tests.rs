//! In virtual time, with a scripted lookup.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::time::advance;

use super::*;

const TTL: Duration = Duration::from_secs(30);
const HOST: &str = "a.test";

type Script = dyn Fn(&str, usize) -> io::Result<Vec<&'static str>> + Send + Sync;

/// Counts its lookups; each waits for a permit of the gate.
struct Scripted {
    script: Box<Script>,
    gate: Semaphore,
    begun: AtomicUsize,
}

impl Scripted {
    fn new(
        script: impl Fn(&str, usize) -> io::Result<Vec<&'static str>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self { script: Box::new(script), gate, begun: AtomicUsize::new(0) })
    }

    /// With lookups that begin and do not end, until permits are added.
    fn gated(
        script: impl Fn(&str, usize) -> io::Result<Vec<&'static str>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let scripted = Self::new(script);
        scripted.gate.forget_permits(Semaphore::MAX_PERMITS);
        scripted
    }

    fn lookups(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Lookup for Scripted {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let n = self.begun.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            (self.script)(host, n).map(|list| list.into_iter().map(address).collect())
        })
    }
}

fn address(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 0)
}

fn over(lookup: &Arc<Scripted>, ttl: Duration) -> Resolver {
    Resolver::new(ttl, lookup.clone(), Tasks::new(tokio::runtime::Handle::current()))
}

fn broken() -> io::Error {
    io::Error::other("scripted")
}

/// The addresses of one connect that works with the first of them.
async fn used(resolver: &Resolver, host: &str) -> Result<Vec<String>, Kind> {
    let found = resolver.resolve(host, 443).await.map_err(|error| error.kind())?;
    let first = found.addresses()[0];
    let list = texts(&found);
    found.worked(first);
    Ok(list)
}

fn texts(found: &Found) -> Vec<String> {
    assert!(found.addresses().iter().all(|address| address.port() == 443));
    found.addresses().iter().map(|address| address.ip().to_string()).collect()
}

/// Lets every task do what it can, without moving the clock.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn within_the_ttl_addresses_come_from_memory() {
    let lookup = Scripted::new(|host, _| Ok(vec![if host == HOST { "10.0.0.1" } else { "10.0.0.2" }]));
    let resolver = over(&lookup, TTL);
    for _ in 0..3 {
        assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.1"]);
        assert_eq!(used(&resolver, "b.test").await.unwrap(), ["10.0.0.2"]);
        advance(TTL / 4).await;
    }
    assert_eq!(lookup.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn past_the_ttl_the_old_addresses_are_used_at_once_and_one_lookup_renews_them() {
    let lookup = Scripted::gated(|_, n| Ok(vec![["10.0.0.1", "10.0.0.2"][n]]));
    let resolver = over(&lookup, TTL);
    lookup.gate.add_permits(1);
    used(&resolver, HOST).await.unwrap();
    advance(TTL).await;
    for _ in 0..10 {
        let found = resolver.resolve(HOST, 443).await.unwrap();
        assert!(found.is_stale());
        assert_eq!(texts(&found), ["10.0.0.1"]);
        found.worked("10.0.0.1:443".parse().unwrap());
        settle().await;
    }
    assert_eq!(lookup.lookups(), 2);
    lookup.gate.add_permits(1);
    settle().await;
    advance(TTL - Duration::from_millis(1)).await;
    let found = resolver.resolve(HOST, 443).await.unwrap();
    assert!(!found.is_stale());
    assert_eq!(texts(&found), ["10.0.0.2"]);
    assert_eq!(lookup.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn addresses_of_ten_ttls_are_not_used_any_more() {
    let lookup = Scripted::new(|_, n| Ok(vec![["10.0.0.1", "10.0.0.2"][n]]));
    let resolver = over(&lookup, TTL);
    used(&resolver, HOST).await.unwrap();
    advance(TTL * STALE_TTLS).await;
    assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_fails_for_a_while_is_not_noticed() {
    let lookup = Scripted::new(|_, n| if n == 0 { Ok(vec!["10.0.0.1"]) } else { Err(broken()) });
    let resolver = over(&lookup, TTL);
    used(&resolver, HOST).await.unwrap();
    for round in 1..STALE_TTLS {
        advance(TTL).await;
        assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.1"]);
        settle().await;
        // Each connect asks again: the failure is not remembered.
        assert_eq!(lookup.lookups(), 1 + round as usize);
    }
    advance(TTL).await;
    assert_eq!(used(&resolver, HOST).await, Err(Kind::Dns));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_remembered() {
    let lookup = Scripted::new(|_, n| match n {
        0 => Err(broken()),
        1 => Ok(vec![]),
        _ => Ok(vec!["10.0.0.1"]),
    });
    let resolver = over(&lookup, TTL);
    let error = resolver.resolve(HOST, 443).await.unwrap_err();
    assert_eq!(error.to_string(), "the host name was not resolved: scripted");
    assert_eq!(used(&resolver, HOST).await, Err(Kind::Dns));
    assert!(resolver.shared.hosts.lock().is_empty());
    assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn callers_share_one_lookup_and_one_who_leaves_does_not_end_it() {
    let lookup = Scripted::gated(|_, _| Ok(vec!["10.0.0.1"]));
    let resolver = Arc::new(over(&lookup, TTL));
    let mut callers = Vec::new();
    for _ in 0..20 {
        let resolver = resolver.clone();
        callers.push(tokio::spawn(async move { used(&resolver, HOST).await }));
    }
    settle().await;
    for leaver in callers.drain(..10) {
        leaver.abort();
    }
    lookup.gate.add_permits(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), ["10.0.0.1"]);
    }
    assert_eq!(lookup.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_is_one_however_many_give_up_on_it() {
    let lookup = Scripted::gated(|_, _| Ok(vec!["10.0.0.1"]));
    let resolver = over(&lookup, TTL);
    for _ in 0..100 {
        let limit = Duration::from_secs(1);
        assert!(tokio::time::timeout(limit, resolver.resolve(HOST, 443)).await.is_err());
    }
    assert_eq!((lookup.lookups(), resolver.tasks.running()), (1, 1));
    // Nobody waits for it by now; it is remembered all the same.
    lookup.gate.add_permits(1);
    settle().await;
    assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.1"]);
    assert_eq!((lookup.lookups(), resolver.tasks.running()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_panics_is_an_error_and_the_next_one_begins_anew() {
    let lookup = Scripted::new(|_, n| if n == 0 { panic!("scripted") } else { Ok(vec!["10.0.0.1"]) });
    let resolver = over(&lookup, TTL);
    assert_eq!(used(&resolver, HOST).await, Err(Kind::Dns));
    assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn addresses_of_which_none_worked_are_forgotten() {
    let lookup = Scripted::new(|_, n| Ok(vec![["10.0.0.1", "10.0.0.2", "10.0.0.3"][n]]));
    let resolver = over(&lookup, TTL);
    drop(resolver.resolve(HOST, 443).await.unwrap());
    let slow = resolver.resolve(HOST, 443).await.unwrap();
    assert_eq!(texts(&slow), ["10.0.0.2"]);
    drop(resolver.resolve(HOST, 443).await.unwrap());
    assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.3"]);
    // A failure of old addresses says nothing of newer ones.
    drop(slow);
    assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.3"]);
    assert_eq!(lookup.lookups(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_host_has_moved_only_if_none_of_its_old_addresses_is_among_the_new() {
    let later: [(&[&str], bool); 3] =
        [(&["10.0.0.3"], true), (&["10.0.0.3", "10.0.0.2"], false), (&[], false)];
    for (later, is_other) in later {
        let lookup =
            Scripted::new(move |_, n| Ok(if n == 0 { vec!["10.0.0.1", "10.0.0.2"] } else { later.to_vec() }));
        let resolver = over(&lookup, TTL);
        used(&resolver, HOST).await.unwrap();
        let fresh = resolver.resolve(HOST, 443).await.unwrap();
        advance(TTL).await;
        let stale = resolver.resolve(HOST, 443).await.unwrap();
        assert_eq!(tokio::time::timeout(TTL, stale.moved()).await.is_ok(), is_other, "{later:?}");
        assert!(tokio::time::timeout(TTL, fresh.moved()).await.is_err());
        assert_eq!(lookup.lookups(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_did_not_work_goes_to_the_back_for_ten_minutes() {
    let lookup = Scripted::new(|_, _| Ok(vec!["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2"]));
    let resolver = over(&lookup, TTL);
    let found = resolver.resolve(HOST, 443).await.unwrap();
    assert_eq!(texts(&found), ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"]);
    found.worked("10.0.0.1:443".parse().unwrap());
    let turned = ["10.0.0.1", "fd00::2", "10.0.0.2", "fd00::1"];
    assert_eq!(used(&resolver, HOST).await.unwrap(), turned);
    // Further lookups give the old order.
    advance(TTL).await;
    used(&resolver, HOST).await.unwrap();
    settle().await;
    assert_eq!(used(&resolver, HOST).await.unwrap(), turned);
    assert_eq!(lookup.lookups(), 2);
    for _ in 0..2 {
        advance(PREFERRED_FOR / 2).await;
        used(&resolver, HOST).await.unwrap();
    }
    assert_eq!(used(&resolver, HOST).await.unwrap()[0], "fd00::1");
}

#[tokio::test(start_paused = true)]
async fn the_host_longest_unused_goes_when_there_are_too_many() {
    let lookup = Scripted::new(|_, _| Ok(vec!["10.0.0.1"; MAX_ADDRESSES + 1]));
    let resolver = over(&lookup, TTL);
    for n in 0..MAX_HOSTS {
        used(&resolver, &format!("{n}.test")).await.unwrap();
        advance(Duration::from_millis(1)).await;
    }
    used(&resolver, "0.test").await.unwrap();
    assert_eq!(used(&resolver, "one-more.test").await.unwrap().len(), MAX_ADDRESSES);
    let hosts = resolver.shared.hosts.lock();
    assert_eq!(hosts.len(), MAX_HOSTS);
    assert!(hosts.contains_key("0.test") && !hosts.contains_key("1.test"));
}

#[tokio::test(start_paused = true)]
async fn lookups_under_way_are_bounded() {
    let lookup = Scripted::gated(|_, _| Ok(vec!["10.0.0.1"]));
    let resolver = over(&lookup, TTL);
    for n in 0..MAX_HOSTS {
        assert!(
            tokio::time::timeout(Duration::ZERO, resolver.resolve(&format!("{n}.test"), 443)).await.is_err()
        );
    }
    let error = resolver.resolve("one-more.test", 443).await.unwrap_err();
    assert_eq!(error.to_string(), "the host name was not resolved: 1024 lookups are under way already");
    lookup.gate.add_permits(MAX_HOSTS + 1);
    settle().await;
    used(&resolver, "one-more.test").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_a_ttl_of_zero_every_connect_asks_and_nothing_stays() {
    let lookup = Scripted::new(|_, n| if n < 3 { Ok(vec!["10.0.0.1"]) } else { Err(broken()) });
    let resolver = over(&lookup, Duration::ZERO);
    for n in 0..3 {
        assert_eq!(lookup.lookups(), n);
        assert_eq!(used(&resolver, HOST).await.unwrap(), ["10.0.0.1"]);
        assert!(resolver.shared.hosts.lock().is_empty());
    }
    assert_eq!(used(&resolver, HOST).await, Err(Kind::Dns));
}

#[tokio::test]
async fn an_ip_address_asks_nobody() {
    let lookup = Scripted::new(|_, _| Err(broken()));
    let resolver = over(&lookup, TTL);
    assert_eq!(used(&resolver, "::1").await.unwrap(), ["::1"]);
    assert_eq!(used(&resolver, "127.0.0.1").await.unwrap(), ["127.0.0.1"]);
    assert_eq!(lookup.lookups(), 0);
}

#[tokio::test]
async fn the_systems_lookup_knows_the_hosts_file() {
    let found = System.lookup("localhost").await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
}

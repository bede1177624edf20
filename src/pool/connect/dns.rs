//! The addresses of a host, remembered for a while.
//!
//! # Why getaddrinfo, and a time of our own
//! A resolver in Rust (hickory) knows the TTL of each record, but asks name servers by itself. It reads resolv.conf and the hosts
//! file and not nsswitch.conf, and of macOS the global settings alone: so it passes by what a VPN, systemd-resolved, mDNS or
//! SSSD answer, and a name that every other program on the machine resolves would fail here. It leaves the answers unsorted, and
//! costs 46 crates and 1.1 MB. getaddrinfo is what everybody sees, hosts file and search domains included, sorted by RFC 6724.
//! It tells no TTL: so an answer is good for a time of our own, `Config::dns_ttl`. Its default of 30 s is the JVM's, and the TTL
//! that Kubernetes' DNS gives out; curl takes 60.
//!
//! # From memory, and when not
//! | age of the addresses | |
//! |---|---|
//! | up to the TTL | used |
//! | up to ten times that | used, and one lookup in the background brings new ones; if it fails, the old ones stay |
//! | older, or none | the connect waits for the lookup |
//!
//! - One lookup for each host at a time, whoever waits for it; nobody who leaves cancels it. getaddrinfo cannot be cancelled, so
//!   this is also what keeps a resolver that hangs from taking a thread for each connect.
//! - A failure is not remembered: the next connect asks again.
//! - Addresses of which none could be connected to are forgotten, and the next connect asks again. If they were stale, the same
//!   connect goes on with the new ones; also when those are there first, and none of the old is among them.
//! - The address that worked when those before it did not comes first for ten minutes, also after a further lookup.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::{Error, Kind, Tasks};
use super::tcp;

/// Stale addresses are used for this many TTLs: at the default, five minutes. A client whose one HTTP/2 connection is renewed at
/// its maximum age connects that often, and never waits for a lookup.
const STALE_TTLS: u32 = 10;

/// How long an address that worked goes before those that did not: then they get another chance.
const PREFERRED_FOR: Duration = Duration::from_secs(600);

/// Hosts remembered; beyond it, the one longest unused goes.
const MAX_HOSTS: usize = 1024;

/// Addresses of one host that are kept.
const MAX_ADDRESSES: usize = 64;

/// Asks for the addresses of a host. In tests, a scripted one.
pub trait Lookup: Send + Sync {
    /// All its addresses, the best first; their ports mean nothing. It is not limited in time, and runs to its end whoever
    /// waits for it.
    fn lookup<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// getaddrinfo, on one of the runtime's threads for what blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct System;

impl Lookup for System {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// Looks up hosts, and remembers what it found. Clones remember together.
#[derive(Clone)]
pub(super) struct Resolver {
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl Resolver {
    /// A TTL of zero: nothing is remembered.
    pub(super) fn new(ttl: Duration, lookup: Arc<dyn Lookup>, tasks: Tasks) -> Self {
        Self { shared: Arc::new(Shared { ttl, lookup, hosts: Mutex::default() }), tasks }
    }

    /// The addresses of a host; an IP address, bare of brackets, is its own.
    ///
    /// # Cancel safety
    /// A lookup that has begun runs on without its caller, and its answer is remembered.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<Found, Error> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Ok(Found::literal(SocketAddr::new(literal, port)));
        }
        let host: Arc<str> = host.into();
        let (memory, flight) = self.shared.ask(&host)?;
        if let Some(flight) = flight {
            self.tasks.spawn("dns", flight.run());
        }
        let (list, newer) = match memory {
            Memory::Good(list) => (list, None),
            Memory::Stale(list, newer) => (list, Some(newer)),
            Memory::Nothing(answer) => (heard(answer).await?, None),
        };
        Ok(self.shared.found(host, port, list, newer))
    }
}

/// The addresses of a host, for one connect, in the order in which to try them. What is dropped without having
/// [worked](Found::worked) is forgotten: the addresses may be out of date.
#[derive(Debug)]
#[must_use = "dropping it says that no address worked"]
pub(super) struct Found {
    addresses: Vec<SocketAddr>,
    /// On its way, since these are stale.
    newer: Option<Coming>,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    shared: Arc<Shared>,
    host: Arc<str>,
    list: Addresses,
}

impl Found {
    fn literal(address: SocketAddr) -> Self {
        Self { addresses: vec![address], newer: None, source: None }
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether newer addresses are on their way.
    pub(super) fn is_stale(&self) -> bool {
        self.newer.is_some()
    }

    /// Resolves when the newer addresses are there and none of these is among them; else never.
    pub(super) async fn moved(&self) {
        if let (Some(newer), Some(source)) = (&self.newer, &self.source)
            && let Ok(list) = heard(newer.clone()).await
            && !list.iter().any(|address| source.list.contains(address))
        {
            return;
        }
        std::future::pending().await
    }

    /// There is a connection to this one of the addresses.
    pub(super) fn worked(mut self, address: SocketAddr) {
        if let Some(source) = self.source.take()
            && self.addresses.first() != Some(&address)
        {
            source.shared.prefer(&source.host, address.ip());
        }
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.shared.forget(&source.host, &source.list);
        }
    }
}

/// One allocation for each lookup: that also tells its answer from a later one.
type Addresses = Arc<[SocketAddr]>;
type Answer = Result<Addresses, Error>;
/// None until there is one.
type Coming = watch::Receiver<Option<Answer>>;

struct Shared {
    ttl: Duration,
    lookup: Arc<dyn Lookup>,
    hosts: Mutex<HashMap<Arc<str>, Host>>,
}

struct Host {
    known: Option<Known>,
    /// The lookup under way.
    flight: Option<Coming>,
    /// What worked when the first did not, and since when.
    preferred: Option<(IpAddr, Instant)>,
    used: Instant,
}

struct Known {
    list: Addresses,
    at: Instant,
}

/// What is in memory, and what comes.
enum Memory {
    Good(Addresses),
    Stale(Addresses, Coming),
    Nothing(Coming),
}

impl Shared {
    /// Also a lookup that is to be started, where one is needed and none is under way.
    fn ask(self: &Arc<Self>, name: &Arc<str>) -> Result<(Memory, Option<Flight>), Error> {
        let now = Instant::now();
        let mut hosts = self.hosts.lock();
        if !hosts.contains_key(name) {
            make_room(&mut hosts)?;
        }
        let new = || Host { known: None, flight: None, preferred: None, used: now };
        let host = hosts.entry(name.clone()).or_insert_with(new);
        host.used = now;
        let known = host.known.as_ref().filter(|known| self.is_usable(known, now));
        if let Some(known) = known.filter(|known| now - known.at < self.ttl) {
            return Ok((Memory::Good(known.list.clone()), None));
        }
        let mut flight = None;
        let coming = host.flight.get_or_insert_with(|| {
            let (tell, coming) = watch::channel(None);
            flight = Some(Flight { shared: self.clone(), host: name.clone(), answer: None, tell });
            coming
        });
        let memory = match known {
            Some(known) => Memory::Stale(known.list.clone(), coming.clone()),
            None => Memory::Nothing(coming.clone()),
        };
        Ok((memory, flight))
    }

    fn found(self: &Arc<Self>, host: Arc<str>, port: u16, list: Addresses, newer: Option<Coming>) -> Found {
        let mut addresses = tcp::interleaved(&list);
        let now = Instant::now();
        let preferred = self.hosts.lock().get(&host).and_then(|host| host.preferred);
        if let Some((preferred, since)) = preferred
            && now - since < PREFERRED_FOR
            && let Some(place) = addresses.iter().position(|address| address.ip() == preferred)
        {
            // Those before it go to the end.
            addresses.rotate_left(place);
        }
        for address in &mut addresses {
            address.set_port(port);
        }
        Found { addresses, newer, source: Some(Source { shared: self.clone(), host, list }) }
    }

    fn prefer(&self, name: &str, address: IpAddr) {
        if let Some(host) = self.hosts.lock().get_mut(name) {
            host.preferred = Some((address, Instant::now()));
        }
    }

    /// Forgets the answer of one lookup, not that of a later one.
    fn forget(&self, name: &str, list: &Addresses) {
        let mut hosts = self.hosts.lock();
        let Some(host) = hosts.get_mut(name) else {
            return;
        };
        host.known.take_if(|known| Arc::ptr_eq(&known.list, list));
        if host.known.is_none() && host.flight.is_none() {
            hosts.remove(name);
        }
    }

    fn is_usable(&self, known: &Known, now: Instant) -> bool {
        now - known.at < self.ttl.saturating_mul(STALE_TTLS)
    }
}

/// Lets the host go that was unused the longest, if there is no room for another. A lookup under way stays.
fn make_room(hosts: &mut HashMap<Arc<str>, Host>) -> Result<(), Error> {
    if hosts.len() < MAX_HOSTS {
        return Ok(());
    }
    let idle = hosts.iter().filter(|(_, host)| host.flight.is_none());
    let Some(oldest) = idle.min_by_key(|(_, host)| host.used).map(|(name, _)| name.clone()) else {
        return Err(Error::with(Kind::Dns, format!("{MAX_HOSTS} lookups are under way already")));
    };
    hosts.remove(&oldest);
    Ok(())
}

async fn heard(mut answer: Coming) -> Answer {
    match answer.wait_for(Option::is_some).await {
        Ok(answer) => (*answer).clone().unwrap_or_else(|| Err(Error::new(Kind::Dns))),
        Err(_) => Err(Error::new(Kind::Dns)),
    }
}

/// A lookup under way. Its drop brings the answer to those who wait and to memory: so nobody waits for one that panicked.
struct Flight {
    shared: Arc<Shared>,
    host: Arc<str>,
    answer: Option<Answer>,
    tell: watch::Sender<Option<Answer>>,
}

impl Flight {
    async fn run(mut self) {
        let found = self.shared.lookup.lookup(&self.host).await;
        self.answer = Some(match found {
            Ok(list) if list.is_empty() => Err(Error::new(Kind::Dns)),
            Ok(mut list) => {
                list.truncate(MAX_ADDRESSES);
                Ok(list.into())
            }
            Err(error) => Err(Error::with(Kind::Dns, error)),
        });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| Err(Error::new(Kind::Dns)));
        let now = Instant::now();
        let mut hosts = self.shared.hosts.lock();
        if let Some(host) = hosts.get_mut(&self.host) {
            host.flight = None;
            match &answer {
                Ok(list) => host.known = Some(Known { list: list.clone(), at: now }),
                Err(error) => {
                    tracing::debug!(target: "trunkline::pool", host = &*self.host, %error, "not resolved");
                }
            }
            if host.known.as_ref().is_none_or(|known| !self.shared.is_usable(known, now)) {
                hosts.remove(&self.host);
            }
        }
        drop(hosts);
        self.tell.send_replace(Some(answer));
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

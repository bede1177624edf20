//! What must be true whenever all is quiet.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trunkline::pool::{Http2, Lane, OriginSnapshot, Snapshot};

use super::books::{Key, Model, TENANTS, Verdict};
use super::world::{SITES, Server, Site};

/// One line, as the snapshot shows it.
#[derive(Clone, Copy)]
struct Line<'a> {
    seen: &'a OriginSnapshot,
    /// Open, being opened, or closing.
    sockets: usize,
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OriginSnapshot { protocol, active, idle, connecting, waiting, streams, free_streams, .. } =
            self.seen;
        write!(
            f,
            "{protocol:?} sockets {}, active {active}, idle {idle}, connecting {connecting}, ",
            self.sockets
        )?;
        write!(f, "waiting {waiting}, streams {streams}, free {free_streams}")
    }
}

type Lines<'a> = HashMap<Key, Line<'a>>;

/// A limit: which lines it is over, and how many sockets it allows them.
struct Limit {
    name: &'static str,
    max: usize,
    covers: Box<dyn Fn(&Key) -> bool>,
}

impl Model {
    pub fn check(&self) -> Verdict {
        let now = self.pool.snapshot();
        let lines = lines(&now);
        self.sockets_are_conserved(&now, &lines)?;
        self.limits_hold(&now, &lines)?;
        self.streams_are_within_limits()?;
        self.counters_are_true(&now)?;
        self.everybody_is_in_the_books(&lines)?;
        self.nobody_waits_too_long()?;
        if !self.seen.closed_for_good {
            for (key, line) in lines.iter().filter(|(_, line)| line.seen.waiting > 0) {
                self.nobody_sleeps_beside_a_free_place(&now, &lines, key, line)
                    .map_err(|why| format!("{key:?} sleeps: {why}\n{line:?}"))?;
            }
        }
        Ok(())
    }

    fn sockets_are_conserved(&self, now: &Snapshot, lines: &Lines<'_>) -> Verdict {
        let c = &now.connections;
        let held = self.net.held.lock().unwrap();
        let sockets: usize = lines.values().map(|line| line.sockets).sum();
        if sockets - c.connecting != self.net.open() {
            return Err(format!("{c:?}, {} are open, known are {sockets}", self.net.open()));
        }
        let mut draining = 0;
        for (key, line) in lines {
            let counted = line.seen.active + line.seen.idle + line.seen.connecting;
            if counted > line.sockets + self.outlived(key) {
                return Err(format!("more in use than there are: {line:?}"));
            }
            draining += line.sockets.saturating_sub(counted);
        }
        if draining != c.draining {
            return Err(format!("{c:?}, but {draining} are draining"));
        }
        // Those that back off have a right and have not begun.
        let all_begun = !self.world.lock().sites.iter().any(Site::may_back_off);
        if held.all > sockets || (all_begun && held.all != sockets) {
            return Err(format!("{c:?}, but {} are open or being opened", held.all));
        }
        for (at, site) in SITES.iter().enumerate() {
            let here = held.by_origin.get(*site).copied().unwrap_or_default();
            let known: usize =
                lines.iter().filter(|(key, _)| key.0 == at).map(|(_, line)| line.sockets).sum();
            if here > known {
                return Err(format!("{site} has {here} sockets, known are {known}"));
            }
        }
        Ok(())
    }

    /// Leases whose sockets the server has closed: nobody has used them since.
    fn outlived(&self, key: &Key) -> usize {
        let world = self.world.lock();
        let is_gone = |number: u64| matches!(world.connections[number as usize - 1].server, Server::Gone);
        self.leases.iter().filter(|held| held.key == *key && is_gone(held.lease.connection_id())).count()
    }

    fn limits_hold(&self, now: &Snapshot, lines: &Lines<'_>) -> Verdict {
        if self.net.over_limit() > 0 {
            return Err("the connector saw too many sockets".into());
        }
        for key in lines.keys() {
            for limit in self.limits(key) {
                if limit.used(lines) > limit.max {
                    return Err(format!(
                        "{} sockets in {} of {key:?}: {lines:?}",
                        limit.used(lines),
                        limit.name
                    ));
                }
            }
        }
        let idle = now.connections.idle;
        // One that took no streams before may take some, once it has said so.
        let undecided = self.world.lock().sites.iter().any(|site| site.ever_zero);
        if idle > self.knobs.idle && !undecided {
            return Err(format!("{idle} rest: {:?}", now.origins));
        }
        Ok(())
    }

    fn streams_are_within_limits(&self) -> Verdict {
        let world = self.world.lock();
        for held in self.leases.iter().filter(|held| held.is_new) {
            let number = held.lease.connection_id();
            let connection = &world.connections[number as usize - 1];
            let ours = match connection.server {
                Server::H1 { .. } => 1,
                _ => self.knobs.streams,
            };
            // Until the server has said its limit, nobody knows it.
            let theirs = connection.limit();
            let streams = self.in_use(number);
            if streams > ours.min(theirs) {
                return Err(format!("{streams} streams on connection {number}: {ours}, {theirs}"));
            }
        }
        Ok(())
    }

    fn counters_are_true(&self, now: &Snapshot) -> Verdict {
        let closed: u64 = now.closed.values().sum();
        if (now.opened, closed) != (self.net.opened() as u64, self.net.closed() as u64) {
            return Err(format!(
                "opened {}, closed {:?}, but {} and {}",
                now.opened,
                now.closed,
                self.net.opened(),
                self.net.closed()
            ));
        }
        let reused = self.reused.load(Ordering::Relaxed);
        if now.reused != reused {
            return Err(format!("reused {}, but {reused}", now.reused));
        }
        let waits = now.acquire_wait.count;
        let ended = self.granted + self.waited_in_vain;
        if waits < ended || waits > ended + self.met_close + self.warmed + self.left {
            return Err(format!("{waits} waits, but {ended}"));
        }
        let seen = &self.seen;
        let idle = Duration::from_millis(self.knobs.idle_timeout);
        let age = Duration::from_millis(self.knobs.max_age).mul_f64(0.9);
        let possible = [
            ("idle", seen.slept >= idle),
            ("age", seen.slept >= age),
            ("server", seen.ended_by_server || seen.zero),
            ("goaway", seen.goaway),
            ("error", seen.zero || seen.goaway || seen.ended_by_server),
            ("cancelled", seen.aborted),
            ("clockJump", seen.jumped),
            ("shutdown", seen.closed),
        ];
        for (reason, possible) in possible {
            if !possible && now.closed[reason] > 0 {
                return Err(format!("closed {:?}, which cannot be: {reason}", now.closed));
            }
        }
        if now.connections.peak > self.knobs.all {
            return Err(format!("a peak of {}", now.connections.peak));
        }
        Ok(())
    }

    /// Each line knows of its waiters, and of what they have in use.
    fn everybody_is_in_the_books(&self, lines: &Lines<'_>) -> Verdict {
        let mut waiting: HashMap<Key, usize> = HashMap::new();
        let mut leased: HashMap<Key, usize> = HashMap::new();
        for waiter in &self.waiters {
            *waiting.entry(waiter.key).or_default() += 1;
        }
        for key in self.leases.iter().map(|held| held.key).chain(self.calls.iter().map(|call| call.key)) {
            *leased.entry(key).or_default() += 1;
        }
        let keys = lines.keys().chain(waiting.keys()).chain(leased.keys());
        for key in keys {
            let Some(line) = lines.get(key) else {
                // A lease keeps no line whose connection has gone.
                if waiting.contains_key(key) || leased[key] > self.outlived(key) {
                    return Err(format!("{key:?} is forgotten"));
                }
                continue;
            };
            let expected = waiting.get(key).copied().unwrap_or_default();
            let warming = self.warming.iter().filter(|(line, _)| line == key).count();
            if line.seen.waiting < expected || line.seen.waiting > expected + warming {
                return Err(format!("{expected} wait in {line:?}"));
            }
            let expected = leased.get(key).copied().unwrap_or_default();
            // A socket that the server has closed may take its time to be found so.
            let idles = line.seen.active > 0 && expected == 0 && !self.knobs.stubborn;
            if line.seen.streams > expected || idles {
                return Err(format!("{expected} are leased in {line:?}"));
            }
        }
        Ok(())
    }

    fn nobody_waits_too_long(&self) -> Verdict {
        let slack = Duration::from_millis(2);
        let late = self.waiters.iter().find(|waiter| waiter.since.elapsed() > waiter.patience + slack);
        late.map_or(Ok(()), |late| Err(format!("{:?} waits for {:?}", late.key, late.since.elapsed())))
    }

    fn nobody_sleeps_beside_a_free_place(
        &self,
        now: &Snapshot,
        lines: &Lines<'_>,
        key: &Key,
        line: &Line<'_>,
    ) -> Verdict {
        let has_outlived = lines.keys().any(|other| self.outlived(other) > 0);
        let world = self.world.lock();
        let site = &world.sites[key.0];
        if line.seen.free_streams > 0 {
            return Err(format!("{} streams are free", line.seen.free_streams));
        }
        let fresh = self.waiters.iter().filter(|waiter| waiter.key == *key && waiter.fresh).count();
        let all_fresh = fresh == line.seen.waiting;
        // A connection that takes no streams rests, too.
        if line.seen.idle > 0 && !all_fresh && !site.ever_zero {
            return Err("a socket rests".into());
        }
        let connecting = |which: &dyn Fn(&Key) -> bool| -> usize {
            lines.iter().filter(|(key, _)| which(key)).map(|(_, line)| line.seen.connecting).sum()
        };
        let here = connecting(&|other| other == key);
        let limits = self.limits(key);
        let mut full = limits.iter().filter(|limit| limit.used(lines) >= limit.max);
        let Some(first) = full.next() else {
            // One connect at a time finds out whether the origin takes connections again.
            if site.may_back_off() && connecting(&|other| other.0 == key.0) > 0 {
                return Ok(());
            }
            let silent = world.connections.iter().any(|connection| {
                let is_silent = connection.announced.is_none_or(|limit| limit == 0);
                connection.site == key.0 && is_silent && matches!(connection.server, Server::H2 { .. })
            });
            if site.ever_zero && silent {
                return Ok(());
            }
            let is_h1 = match self.knobs.http2 {
                Http2::Auto => key.0 == 0 || line.seen.protocol == Some("h1"),
                Http2::Never => true,
                Http2::PriorKnowledge => false,
            };
            let needed = if is_h1 { line.seen.waiting } else { 1 };
            if here < needed {
                return Err(format!("there is room for another socket: {lines:?}"));
            }
            return Ok(());
        };
        if here > 0 || site.may_back_off() || now.connections.draining > 0 {
            return Ok(());
        }
        if full.next().is_some() {
            // Room in one limit would be none in the other.
            return Ok(());
        }
        // The figures do not show a socket that closes while the lease of another outlives it.
        if self.knobs.stubborn && has_outlived {
            return Ok(());
        }
        // Known: what rests beside somebody who wants a fresh socket is not looked at again once that one is served, if the sockets
        // that go take their time.
        if self.knobs.stubborn && self.seen.fresh {
            return Ok(());
        }
        // What rests is no use to those who want a fresh one.
        let rests = |(other, line): &(&Key, &Line<'_>)| {
            let of_use = self.waiters.iter().any(|waiter| waiter.key == **other && !waiter.fresh);
            (first.covers)(other) && line.seen.idle > 0 && !of_use
        };
        match lines.iter().find(rests) {
            Some((other, line)) if !world.sites[other.0].ever_zero => {
                Err(format!("what rests in {other:?} does not give way in {}: {line:?}", first.name))
            }
            _ => Ok(()),
        }
    }

    fn limits(&self, key: &Key) -> Vec<Limit> {
        let (site, tenant, lane) = *key;
        let mut limits = Vec::new();
        let mut add = |name, max, covers: Box<dyn Fn(&Key) -> bool>| limits.push(Limit { name, max, covers });
        if let Some(((streaming, unary), lane)) = self.knobs.lanes.zip(lane) {
            let max = if lane == Lane::Streaming { streaming } else { unary };
            add("the lane", max, Box::new(move |other| (other.0, other.2) == (site, Some(lane))));
        }
        if let Some((max, tenant)) = self.knobs.by_tenant.zip(tenant) {
            add("the tenant", max, Box::new(move |other| other.1 == Some(tenant)));
        }
        add("the origin", self.knobs.by_origin, Box::new(move |other| other.0 == site));
        add("the pool", self.knobs.all, Box::new(|_| true));
        limits
    }
}

impl Limit {
    fn used(&self, lines: &Lines<'_>) -> usize {
        lines.iter().filter(|(key, _)| (self.covers)(key)).map(|(_, line)| line.sockets).sum()
    }
}

fn lines(now: &Snapshot) -> Lines<'_> {
    let key = |seen: &OriginSnapshot| {
        let site = SITES.iter().position(|site| **site == *seen.origin).unwrap();
        let tenant =
            seen.tenant.as_ref().map(|name| TENANTS.iter().position(|tenant| **tenant == **name).unwrap());
        let lane = seen.lane.map(|lane| if lane == "streaming" { Lane::Streaming } else { Lane::Unary });
        (site, tenant, lane)
    };
    let line = |seen: &'_ OriginSnapshot| (seen.opened - seen.closed) as usize + seen.connecting;
    now.origins.iter().map(|seen| (key(seen), Line { seen, sockets: line(seen) })).collect()
}

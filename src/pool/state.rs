//! The locked data, and what happens to it. No I/O and no await in here; whatever must
//! happen outside of the lock is returned as [`After`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::client::conn::{http1, http2};
use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock::Reading;
use super::connection::{Info, SocketRight};
use super::lease::{Held, Lease, RequestBody};
use super::limit::{Limit, LineId};
use super::line::{Idle, Line, Multiplexed, Resting};
use super::partition::{Partition, Tenant};
use super::queue::{Priority, Rank};
use super::site::Site;
use super::stats::CloseReason;
use super::{Checkout, Config, Error, Kind, Origin, Protocol, Shared};

#[derive(Debug)]
pub(super) struct State {
    pub(super) lines: Slab<Line>,
    by_partition: HashMap<Partition, LineId>,
    pub(super) sites: Slab<Site>,
    by_origin: HashMap<Origin, usize>,
    pub(super) tenants: Slab<TenantState>,
    by_tenant: HashMap<Tenant, usize>,
    /// The limit of all sockets together.
    pub(super) all: Limit,
    pub(super) resting: Resting,
    /// Connections that were told to go so that another can be opened, and have not gone yet, by their number; true for those that
    /// had streams then.
    pub(super) leaving: HashMap<u64, bool>,
    /// When somebody last looked whether the machine had slept.
    pub(super) looked: Option<Reading>,
    next_ticket: u64,
    next_socket: u64,
    pub(super) closing: bool,
}

#[derive(Debug)]
pub(super) struct TenantState {
    pub(super) limit: Limit,
    /// How many lines it has; without any it is forgotten.
    lines: usize,
}

/// What is left to do when the lock is free again.
#[derive(Default)]
#[must_use = "rights to open must be used outside of the lock"]
pub(super) struct After {
    pub(super) open: Vec<SocketRight>,
}

/// What a checkout found.
pub(super) enum Found {
    Lease(Lease),
    /// To wait for: the grant, and the place in the queue of a line.
    Wait(oneshot::Receiver<Result<Lease, Error>>, LineId, Rank),
}

impl State {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            lines: Slab::new(),
            by_partition: HashMap::new(),
            sites: Slab::new(),
            by_origin: HashMap::new(),
            tenants: Slab::new(),
            by_tenant: HashMap::new(),
            all: Limit::new(config.max_connections.get()),
            resting: Resting::default(),
            leaving: HashMap::new(),
            looked: None,
            next_ticket: 0,
            next_socket: 0,
            closing: false,
        }
    }

    /// An idle socket, a free stream, or a place in the queue.
    pub(super) fn take(
        &mut self,
        shared: &Arc<Shared>,
        partition: &Partition,
        how: &Checkout,
        after: &mut After,
    ) -> Result<Found, Error> {
        if self.closing {
            return Err(Error::new(Kind::Closed));
        }
        let reading = shared.clock.read();
        self.look(&shared.config, reading);
        let now = reading.now;
        let id = self.line_of(partition, &shared.config, now)?;
        if how.fresh {
            self.give_up_suspects(id);
        }
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else {
            return Err(Error::new(Kind::Closed));
        };
        line.touched = now;
        line.connect_timeout = how.connect_timeout;
        line.aging = how.aging;
        // Whoever waits already goes first.
        if line.queue.is_empty()
            && let Some(lease) = line.lease_stream(shared, now, resting)
        {
            return Ok(Found::Lease(lease));
        }
        // But a socket rests while others wait only if they all want a fresh one.
        if !how.fresh
            && let Some(lease) = line.lease_idle(shared, now, resting)
        {
            return Ok(Found::Lease(lease));
        }
        if line.queue.len() >= how.max_waiting.saturating_add(self.coming(shared, id)) {
            shared.stats.refused();
            return Err(Error::new(Kind::QueueFull(how.max_waiting)));
        }
        if how.fresh && self.denied_by(id).is_some() {
            // What rests here is suspect, and stands in the way of a fresh socket.
            self.evict_longest_resting(id);
        }
        self.next_ticket += 1;
        let rank = Rank::new(now, how.priority, how.aging, self.next_ticket);
        let (grant, granted) = oneshot::channel();
        if let Some(line) = self.lines.get_mut(id) {
            line.queue.join(how.priority, rank, grant);
        }
        self.reconsider(shared, id, after);
        Ok(Found::Wait(granted, id, rank))
    }

    /// A waiter's caller has gone without a lease.
    pub(super) fn leave(
        &mut self,
        shared: &Arc<Shared>,
        id: LineId,
        priority: Priority,
        rank: Rank,
        after: &mut After,
    ) {
        let Some(line) = self.lines.get_mut(id) else { return };
        line.queue.leave(priority, rank);
        if line.hungry.is_some() {
            self.reconsider(shared, id, after);
        }
    }

    /// A socket that can serve again, or for the first time: to the first waiter, or to rest.
    pub(super) fn put_socket(
        &mut self,
        shared: &Arc<Shared>,
        sender: http1::SendRequest<RequestBody>,
        info: Arc<Info>,
        leased: bool,
        after: &mut After,
    ) {
        let now = Instant::now();
        let id = info.line;
        if leased {
            self.discard(&info);
        } else {
            self.placed(&info);
        }
        let reason = if self.closing {
            Some(CloseReason::Shutdown)
        } else if sender.is_closed() || info.is_spent() {
            Some(CloseReason::Server)
        } else if now >= info.retire_at {
            Some(CloseReason::Age)
        } else {
            None
        };
        if let Some(reason) = reason {
            info.close_with(reason);
            return;
        }
        let waits = self.lines.get(id).is_some_and(|line| !line.queue.is_empty());
        // Where nobody waits it comes to rest, and what has rested longest goes.
        if waits && self.must_give_way(id, false) {
            self.tell_to_go(id, &info, false);
            return;
        }
        let Some(line) = self.lines.get_mut(id) else { return };
        line.leased += 1;
        let back = line.hand_over(Lease::new(shared.clone(), Held::Socket(sender), info));
        if let Some(mut lease) = back {
            line.leased -= 1;
            if let Some((Held::Socket(sender), info)) = lease.disarm() {
                self.rest(shared, sender, info, now);
            }
        }
        if self.lines.get(id).is_some_and(|line| line.hungry.is_some()) {
            self.reconsider(shared, id, after);
        }
        if !leased {
            self.no_longer_probes(shared, id, after);
        }
    }

    /// A new HTTP/2 connection, whose driver has not run: to as many waiters as it has streams for.
    pub(super) fn put_connection(
        &mut self,
        shared: &Arc<Shared>,
        sender: http2::SendRequest<RequestBody>,
        info: Arc<Info>,
        after: &mut After,
    ) {
        let id = info.line;
        self.placed(&info);
        if self.closing {
            info.close_with(CloseReason::Shutdown);
            return;
        }
        let Self { lines, sites, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        let Some(site) = sites.get(line.site) else { return };
        line.shared.push(Multiplexed {
            sender,
            info,
            active: 0,
            limit: site.expected_streams(&shared.config),
            announced: false,
            idle_since: Instant::now(),
            place: Some(resting.join(id)),
        });
        line.serve_streams(shared, id, resting);
        if let Some(unused) = line.shared.last().filter(|connection| connection.active == 0) {
            // Nobody waited for it: whoever comes finds it there, and pays nothing for it.
            unused.info.lease_again();
        }
        self.reconsider(shared, id, after);
        self.no_longer_probes(shared, id, after);
        self.bound_resting(shared);
        self.make_room_beside(id);
    }

    /// A stream has ended.
    pub(super) fn release_stream(&mut self, shared: &Arc<Shared>, info: &Info, after: &mut After) {
        let now = Instant::now();
        let id = info.line;
        let must_give_way = self.must_give_way(id, true);
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        let Some(at) = line.shared.iter().position(|c| c.info.id == info.id) else { return };
        let connection = &mut line.shared[at];
        connection.release(id, now, resting);
        let rests = connection.active == 0;
        if must_give_way && (!rests || !line.queue.is_empty()) {
            // It ends with the streams that it has: one that always has some would never come to rest.
            let Multiplexed { info, place, .. } = line.shared.remove(at);
            if let Some(place) = place {
                resting.leave(place);
            }
            self.tell_to_go(id, &info, !rests);
            return;
        }
        if rests && connection.announced && connection.limit == 0 {
            self.takes_no_streams(shared, info, after);
            return;
        }
        line.serve_streams(shared, id, resting);
        // Serving may have thrown out connections that are closed or too old, this one too: whoever still waits needs others.
        self.reconsider(shared, id, after);
        if rests {
            self.bound_resting(shared);
            self.make_room_beside(id);
        }
    }

    /// The server has announced how many streams a connection takes.
    pub(super) fn set_stream_limit(
        &mut self,
        shared: &Arc<Shared>,
        info: &Info,
        theirs: usize,
        after: &mut After,
    ) {
        let id = info.line;
        let Some((line, site)) = self.line_and_site_mut(id) else { return };
        let limit = theirs.min(shared.config.max_streams_per_connection.get());
        site.streams = Some(limit);
        if let Some(connection) = line.shared.iter_mut().find(|c| c.info.id == info.id) {
            connection.limit = limit;
            if !connection.announced && connection.active > limit {
                info.oversubscribe();
            }
            connection.announced = true;
            if limit == 0 && connection.active == 0 {
                self.takes_no_streams(shared, info, after);
                return;
            }
        }
        let Self { lines, resting, .. } = self;
        if let Some(line) = lines.get_mut(id) {
            line.serve_streams(shared, id, resting);
        }
        self.reconsider(shared, id, after);
    }

    /// A connection takes no new streams any more; those that run go on.
    pub(super) fn retire(&mut self, shared: &Arc<Shared>, info: &Info, after: &mut After) {
        self.take_out(info);
        self.reconsider(shared, info.line, after);
    }

    /// An HTTP/1.1 lease ended, or ended without its socket.
    pub(super) fn discard(&mut self, info: &Info) {
        if let Some(line) = self.lines.get_mut(info.line) {
            line.leased -= 1;
        }
    }

    /// A connection was made, and speaks this: now it is known how many more the waiters need.
    /// Returns its number, and the counter of its line.
    pub(super) fn connected(
        &mut self,
        shared: &Arc<Shared>,
        id: LineId,
        protocol: Protocol,
        after: &mut After,
    ) -> (u64, Arc<AtomicU64>) {
        let mut reused = Arc::default();
        let mut is_news = false;
        if let Some((line, site)) = self.line_and_site_mut(id) {
            line.opened += 1;
            reused = line.reused.clone();
            is_news = site.protocol != Some(protocol);
            site.connected(protocol);
        }
        self.feed(shared, id, after);
        if is_news {
            self.reconsider_neighbours(shared, id, after);
        }
        self.next_socket += 1;
        (self.next_socket, reused)
    }

    /// What an origin speaks is known now: other lines of it waited for a single connect each.
    fn reconsider_neighbours(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) {
        let Some(site) = self.lines.get(id).map(|line| line.site) else { return };
        let neighbours = self.lines.iter().filter(|(_, line)| line.site == site);
        let mut waiting: Vec<_> =
            neighbours.filter_map(|(id, line)| line.queue.first().map(|rank| (rank, id))).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            self.reconsider(shared, id, after);
        }
    }

    /// A connection was not made, or serves nobody: those that waited for it learn why. `counted`: whether its right is still among
    /// the line's sockets.
    ///
    /// One connection is for one waiter where others live that can serve the rest, and also where the origin took connections until
    /// now: the next connect will tell whether it still does. Otherwise it was for all, in every line of the origin that has
    /// nothing else.
    pub(super) fn connect_failed(&mut self, id: LineId, counted: bool, began: Instant, error: &Error) {
        let Some((line, site)) = self.line_and_site_mut(id) else { return };
        let is_first = site.connect_failed(began) == 1 && site.protocol.is_some();
        let others = line.sockets - usize::from(counted);
        if others > 0 || is_first {
            line.fail(1, error);
            return;
        }
        let waiting: Vec<LineId> = site.limit.hungry().collect();
        self.fail_all(id, error);
        for other in waiting {
            if self.lines.get(other).is_some_and(|line| line.sockets == 0) {
                self.fail_all(other, error);
            }
        }
    }

    fn fail_all(&mut self, id: LineId, error: &Error) {
        if let Some(line) = self.lines.get_mut(id) {
            line.fail(usize::MAX, error);
        }
        self.strike(id);
    }

    /// A connect came to no end at all: nobody waits for it any longer.
    pub(super) fn connect_abandoned(&mut self, id: LineId) {
        self.fail_all(id, &Error::new(Kind::Connect));
    }

    /// A right is given back: its socket has closed, or was never opened.
    pub(super) fn right_ended(
        &mut self,
        shared: &Arc<Shared>,
        id: LineId,
        info: Option<&Info>,
        after: &mut After,
    ) {
        match info {
            Some(info) => {
                self.placed(info);
                self.take_out(info);
                self.has_gone(id, info);
            }
            None => self.no_longer_connecting(id),
        }
        self.each_limit(id, Limit::give_back);
        if let Some(line) = self.lines.get_mut(id) {
            line.sockets -= 1;
            line.closed += u64::from(info.is_some());
        }
        // It may starve from now on, and is put in its place anew.
        self.strike(id);
        self.feed(shared, id, after);
        // Others may have counted on it, too, and let nothing else go.
        self.make_room_beside(id);
    }

    /// Lets go what rests now.
    pub(super) fn close_idle(&mut self) {
        let Self { lines, resting, .. } = self;
        for (_, line) in lines.iter_mut() {
            line.give_up_idle(resting, |_| Some(CloseReason::Shutdown));
            // One whose SETTINGS are not here yet was just made for somebody.
            let rests = |c: &Multiplexed| c.active == 0 && c.announced;
            line.give_up_shared(resting, |c| rests(c).then_some(CloseReason::Shutdown));
        }
    }

    /// Ends the queue and lets every resting connection go.
    pub(super) fn close(&mut self) {
        self.closing = true;
        let Self { lines, resting, .. } = self;
        for (_, line) in lines.iter_mut() {
            line.fail(usize::MAX, &Error::new(Kind::Closed));
            line.give_up_idle(resting, |_| Some(CloseReason::Shutdown));
            line.give_up_shared(resting, |_| Some(CloseReason::Shutdown));
        }
    }

    /// A connection that was offered to whoever waits, or has ended before, no longer counts as connecting.
    pub(super) fn placed(&mut self, info: &Info) {
        if info.place() {
            self.no_longer_connecting(info.line);
        }
    }

    /// A connection was offered to whoever waits. If a connect that began beside it has failed since it was made, other lines of
    /// the origin wait for the next one, which may begin now.
    fn no_longer_probes(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) {
        if self.line_and_site(id).is_some_and(|(_, site)| site.is_probed()) {
            self.feed(shared, id, after);
        }
    }

    fn no_longer_connecting(&mut self, id: LineId) {
        if let Some((line, site)) = self.line_and_site_mut(id) {
            line.connecting -= 1;
            site.connecting -= 1;
        }
    }

    /// To rest, unless that is one too many.
    fn rest(
        &mut self,
        shared: &Shared,
        sender: http1::SendRequest<RequestBody>,
        info: Arc<Info>,
        now: Instant,
    ) {
        let id = info.line;
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        let until = now + info.may_rest().min(shared.config.idle_timeout);
        line.idle.push(Idle { sender, info, since: now, until, place: resting.join(id) });
        self.bound_resting(shared);
        self.make_room_beside(id);
    }

    /// More rest than are kept: the one that has rested longest goes.
    fn bound_resting(&mut self, shared: &Shared) {
        while self.resting.len() > shared.config.max_idle_connections {
            let Some(id) = self.longest_resting(|_, _| true) else { return };
            self.evict_longest_resting(id);
        }
    }

    /// What rests in a line is suspect. A connection would be given to whoever waits as soon as one stream is wanted; a socket goes
    /// only where it stands in the way.
    fn give_up_suspects(&mut self, id: LineId) {
        let suspect = |c: &Multiplexed| c.active == 0 && c.announced;
        while let Some(info) = self
            .lines
            .get(id)
            .and_then(|line| line.shared.iter().find(|c| suspect(c)))
            .map(|c| c.info.clone())
        {
            self.take_out(&info);
            self.tell_to_go(id, &info, false);
        }
    }

    /// A connection whose server says that it takes no streams serves nobody.
    fn takes_no_streams(&mut self, shared: &Arc<Shared>, info: &Info, after: &mut After) {
        self.take_out(info);
        info.close_with(CloseReason::Error);
        let error = Error::with(
            Kind::Connect,
            "the server takes no HTTP/2 streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0)",
        );
        self.connect_failed(info.line, true, Instant::now(), &error);
        self.reconsider(shared, info.line, after);
    }

    /// Takes a connection out of its line, wherever it is.
    fn take_out(&mut self, info: &Info) {
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(info.line) else { return };
        if let Some(at) = line.idle.iter().position(|idle| idle.info.id == info.id) {
            resting.leave(line.idle.remove(at).place);
        }
        if let Some(at) = line.shared.iter().position(|c| c.info.id == info.id)
            && let Some(place) = line.shared.remove(at).place
        {
            resting.leave(place);
        }
    }

    /// Those who wait for a connection that is being made, or can be, do not wait for others.
    fn coming(&self, shared: &Shared, id: LineId) -> usize {
        let Some((line, site)) = self.line_and_site(id) else { return 0 };
        let streams = match site.expected_protocol(&line.partition.origin, &shared.config) {
            Some(Protocol::H2) => site.expected_streams(&shared.config).max(1),
            _ => 1,
        };
        (line.connecting + self.room(id)).saturating_mul(streams)
    }

    /// The line of a partition, made where there is none.
    pub(super) fn line_of(
        &mut self,
        partition: &Partition,
        config: &Config,
        now: Instant,
    ) -> Result<LineId, Error> {
        if let Some(id) = self.by_partition.get(partition) {
            return Ok(*id);
        }
        let tenant = match &partition.tenant {
            Some(tenant) => Some(self.tenant_of(tenant, config)?),
            None => None,
        };
        let site = match self.by_origin.get(&partition.origin) {
            Some(site) => *site,
            None => {
                let site = self.sites.insert(Site::new(config));
                self.by_origin.insert(partition.origin.clone(), site);
                site
            }
        };
        if let Some(site) = self.sites.get_mut(site) {
            site.lines += 1;
        }
        if let Some(tenant) = tenant.and_then(|tenant| self.tenants.get_mut(tenant)) {
            tenant.lines += 1;
        }
        let id = self.lines.insert(Line::new(partition.clone(), site, tenant, now));
        self.by_partition.insert(partition.clone(), id);
        Ok(id)
    }

    fn tenant_of(&mut self, tenant: &Tenant, config: &Config) -> Result<usize, Error> {
        if let Some(known) = self.by_tenant.get(tenant) {
            return Ok(*known);
        }
        if self.tenants.len() >= config.max_tenants.get() {
            self.forget(|line| line.tenant.is_some() && line.is_unused());
        }
        if self.tenants.len() >= config.max_tenants.get() {
            return Err(Error::new(Kind::TooManyTenants(config.max_tenants.get())));
        }
        let max = config.max_connections_per_tenant.unwrap_or(config.max_connections);
        let id = self.tenants.insert(TenantState { limit: Limit::new(max.get()), lines: 0 });
        self.by_tenant.insert(tenant.clone(), id);
        Ok(id)
    }

    /// Forgets lines, which must be unused, and the origins and tenants of which none is left.
    pub(super) fn forget(&mut self, which: impl Fn(&Line) -> bool) {
        let ids: Vec<LineId> = self.lines.iter().filter(|(_, line)| which(line)).map(|(id, _)| id).collect();
        for id in ids {
            let Some(Line { partition, site, tenant, .. }) = self.lines.try_remove(id) else { continue };
            self.by_partition.remove(&partition);
            if let Some(known) = self.sites.get_mut(site) {
                known.lines -= 1;
                if known.lines == 0 {
                    self.sites.remove(site);
                    self.by_origin.remove(&partition.origin);
                }
            }
            if let Some((id, name)) = tenant.zip(partition.tenant)
                && let Some(known) = self.tenants.get_mut(id)
            {
                known.lines -= 1;
                if known.lines == 0 {
                    self.tenants.remove(id);
                    self.by_tenant.remove(&name);
                }
            }
        }
    }

    pub(super) fn line_and_site(&self, id: LineId) -> Option<(&Line, &Site)> {
        let line = self.lines.get(id)?;
        Some((line, self.sites.get(line.site)?))
    }

    pub(super) fn line_and_site_mut(&mut self, id: LineId) -> Option<(&mut Line, &mut Site)> {
        let line = self.lines.get_mut(id)?;
        let site = self.sites.get_mut(line.site)?;
        Some((line, site))
    }
}

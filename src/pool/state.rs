//! The locked data: who has what, who waits, and who may open a socket. No I/O and no await in here; whatever must
//! happen outside of the lock is returned as [`After`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::{Info, SocketRight};
use super::lease::{Held, Lease, RequestBody};
use super::stats::CloseReason;
use super::{Config, Error, Http2, Origin, Protocol, Shared};

#[derive(Default)]
pub(super) struct State {
    pub(super) lines: HashMap<Origin, Line>,
    /// Rights given out: sockets open, closing, or being opened.
    pub(super) sockets: usize,
    /// Idle sockets that were told to go so that another can be opened, and have not gone yet, by their number.
    leaving: HashSet<u64>,
    /// HTTP/2 connections that were told the same while they have streams. That may take minutes: they are no reason to
    /// let nobody else go.
    draining: HashSet<u64>,
    next_ticket: u64,
    next_socket: u64,
    pub(super) closing: bool,
}

/// What one origin has.
#[derive(Default)]
pub(super) struct Line {
    /// HTTP/1.1 sockets at rest; the last one in is the first one out.
    pub(super) idle: Vec<Idle>,
    /// HTTP/2 connections that take new streams, in the order of their opening: the first with room is filled first.
    pub(super) shared: Vec<Multiplexed>,
    waiters: VecDeque<Waiter>,
    /// Waiters in the queue whose caller has gone.
    gone: usize,
    pub(super) sockets: usize,
    /// Of them, those that nobody was offered yet.
    pub(super) connecting: usize,
    /// HTTP/1.1 sockets in use.
    pub(super) leased: usize,
    /// What the origin spoke last.
    pub(super) protocol: Option<Protocol>,
    /// Streams that its last HTTP/2 connection took.
    streams: Option<usize>,
    pub(super) opened: u64,
    pub(super) reused: u64,
    pub(super) closed: u64,
    pub(super) touched: Option<Instant>,
    /// What the last checkout allows a connect.
    connect_timeout: Duration,
}

pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) info: Arc<Info>,
    pub(super) since: Instant,
}

pub(super) struct Multiplexed {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) info: Arc<Info>,
    pub(super) active: usize,
    /// The lower of ours and the server's.
    pub(super) limit: usize,
    /// Whether the server has said its limit.
    announced: bool,
    pub(super) idle_since: Instant,
}

struct Waiter {
    /// Ascending in the queue.
    ticket: u64,
    /// None once the caller has gone.
    grant: Option<oneshot::Sender<Result<Lease, Error>>>,
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
    /// To wait for: the grant, and the ticket that leaves the queue.
    Wait(oneshot::Receiver<Result<Lease, Error>>, u64),
}

impl State {
    /// An idle socket, a free stream, or a place in the queue.
    pub(super) fn take(
        &mut self,
        shared: &Arc<Shared>,
        origin: &Origin,
        fresh: bool,
        connect_timeout: Duration,
        after: &mut After,
    ) -> Result<Found, Error> {
        if self.closing {
            return Err(Error::new(super::Kind::Closed));
        }
        let now = Instant::now();
        let line = match self.lines.get_mut(origin) {
            Some(line) => line,
            None => self.lines.entry(origin.clone()).or_default(),
        };
        line.touched = Some(now);
        line.connect_timeout = connect_timeout;
        let is_full = line.sockets >= shared.config.max_connections_per_origin.get()
            || self.sockets >= shared.config.max_connections.get();
        if fresh {
            // What rests here is suspect. A connection would be given to whoever waits as soon as one stream is wanted; a
            // socket goes only where it stands in the way.
            line.shared.retain(|c| {
                if c.active > 0 || !c.announced {
                    return true;
                }
                c.info.close_with(CloseReason::Evicted);
                self.leaving.insert(c.info.id);
                false
            });
        }
        // Whoever waits already goes first.
        if line.waiting() == 0
            && let Some(lease) = line.lease_stream(shared, now)
        {
            return Ok(Found::Lease(lease));
        }
        // But a socket rests while others wait only if they all want a fresh one.
        if !fresh && let Some(lease) = line.lease_idle(shared, now) {
            return Ok(Found::Lease(lease));
        }
        if line.waiting() >= shared.config.max_waiting {
            return Err(Error::new(super::Kind::QueueFull(shared.config.max_waiting)));
        }
        if fresh && is_full && !line.idle.is_empty() {
            // What rests here is suspect, and stands in the way of a fresh socket.
            let info = line.idle.remove(0).info;
            info.close_with(CloseReason::Evicted);
            self.leaving.insert(info.id);
        }
        let (grant, granted) = oneshot::channel();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        line.waiters.push_back(Waiter { ticket, grant: Some(grant) });
        self.open_for(shared, origin, after);
        Ok(Found::Wait(granted, ticket))
    }

    /// A waiter's caller has gone without a lease.
    pub(super) fn leave(&mut self, origin: &Origin, ticket: u64) {
        let Some(line) = self.lines.get_mut(origin) else {
            return;
        };
        let Ok(at) = line.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) else {
            return;
        };
        line.waiters[at].grant = None;
        line.gone += 1;
        // Swept in bulk, so that ten thousand callers who leave at once cost no quadratic time.
        if line.gone > 16 && line.gone * 2 > line.waiters.len() {
            line.waiters.retain(|waiter| waiter.grant.is_some());
            line.gone = 0;
        }
    }

    /// A socket that can serve again, or for the first time: to the first waiter, or to rest.
    pub(super) fn put_socket(
        &mut self,
        shared: &Arc<Shared>,
        sender: http1::SendRequest<RequestBody>,
        info: Arc<Info>,
        leased: bool,
    ) {
        let now = Instant::now();
        let full = self.is_idle_full(&shared.config);
        let must_give_way = self.must_give_way(&info.origin, &shared.config, self.leaving.len());
        let Some(line) = self.lines.get_mut(&info.origin) else {
            return;
        };
        if leased {
            line.leased -= 1;
        } else {
            line.place(&info);
        }
        if self.closing || sender.is_closed() {
            info.close_with(if self.closing { CloseReason::Shutdown } else { CloseReason::Server });
            return;
        }
        if now >= info.retire_at {
            info.close_with(CloseReason::Age);
            return;
        }
        // Where nobody waits it comes to rest, and what has rested longest goes.
        if must_give_way && line.waiting() > 0 {
            info.close_with(CloseReason::Evicted);
            self.leaving.insert(info.id);
            return;
        }
        let lease = Lease::new(shared.clone(), Held::Socket(sender), info);
        line.leased += 1;
        let reused = lease.is_reused();
        let Some(mut lease) = line.hand_over(lease) else {
            line.reused += u64::from(reused);
            return;
        };
        line.leased -= 1;
        let Some((Held::Socket(sender), info)) = lease.disarm() else {
            return;
        };
        if full {
            info.close_with(CloseReason::Evicted);
            return;
        }
        line.idle.push(Idle { sender, info, since: now });
        self.make_room(&shared.config);
    }

    /// A new HTTP/2 connection, whose driver has not run: to as many waiters as it has streams for.
    pub(super) fn put_connection(
        &mut self,
        shared: &Arc<Shared>,
        sender: http2::SendRequest<RequestBody>,
        info: Arc<Info>,
    ) {
        let Some(line) = self.lines.get_mut(&info.origin) else {
            return;
        };
        line.place(&info);
        if self.closing {
            info.close_with(CloseReason::Shutdown);
            return;
        }
        // Until its SETTINGS come, it takes what the last one took; a first one takes one stream, since what is beyond the
        // server's limit would wait unseen inside h2, or be refused.
        let limit = line.streams.unwrap_or(1);
        line.shared.push(Multiplexed {
            sender,
            info,
            active: 0,
            limit,
            announced: false,
            idle_since: Instant::now(),
        });
        line.serve_streams(shared);
        self.make_room(&shared.config);
    }

    /// A stream has ended.
    pub(super) fn release_stream(&mut self, shared: &Arc<Shared>, info: &Info, after: &mut After) {
        let now = Instant::now();
        let under_way = self.leaving.len() + self.draining.len();
        let must_give_way = self.must_give_way(&info.origin, &shared.config, under_way);
        let Some(line) = self.lines.get_mut(&info.origin) else {
            return;
        };
        let Some(at) = line.shared.iter().position(|c| c.info.id == info.id) else {
            return;
        };
        line.shared[at].active -= 1;
        line.shared[at].idle_since = now;
        if must_give_way && (line.shared[at].active > 0 || line.waiting() > 0) {
            // It ends with the streams that it has: one that always has some would never come to rest.
            let info = line.shared.remove(at).info;
            info.close_with(CloseReason::Evicted);
            self.draining.insert(info.id);
            return;
        }
        line.serve_streams(shared);
        // Serving may have thrown out connections that are closed or too old, this one too: whoever still waits needs others.
        let at = line.shared.iter().position(|c| c.info.id == info.id);
        if line.waiting() > 0 {
            self.open_for(shared, &info.origin, after);
            return;
        }
        let Some(at) = at else { return };
        let rests = line.shared[at].active == 0;
        if rests
            && self.sockets > shared.config.max_idle_connections
            && self.idle() > shared.config.max_idle_connections
            && let Some(line) = self.lines.get_mut(&info.origin)
        {
            line.shared.remove(at).info.close_with(CloseReason::Evicted);
        }
        if rests {
            self.make_room(&shared.config);
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
        let Some(line) = self.lines.get_mut(&info.origin) else {
            return;
        };
        let limit = theirs.min(shared.config.max_streams_per_connection.get());
        line.streams = Some(limit.max(1));
        if let Some(connection) = line.shared.iter_mut().find(|c| c.info.id == info.id) {
            connection.limit = limit;
            connection.announced = true;
        }
        line.serve_streams(shared);
        let origin = info.origin.clone();
        self.open_for(shared, &origin, after);
    }

    /// A connection takes no new streams any more; those that run go on.
    pub(super) fn retire(&mut self, shared: &Arc<Shared>, info: &Info, after: &mut After) {
        let Some(line) = self.lines.get_mut(&info.origin) else {
            return;
        };
        line.shared.retain(|c| c.info.id != info.id);
        let origin = info.origin.clone();
        self.open_for(shared, &origin, after);
    }

    /// An HTTP/1.1 lease ended without its socket.
    pub(super) fn discard(&mut self, info: &Info) {
        if let Some(line) = self.lines.get_mut(&info.origin) {
            line.leased -= 1;
        }
    }

    /// A connection was made, and speaks this: now it is known how many more the waiters need.
    pub(super) fn connected(
        &mut self,
        shared: &Arc<Shared>,
        origin: &Origin,
        protocol: Protocol,
        after: &mut After,
    ) -> u64 {
        if let Some(line) = self.lines.get_mut(origin) {
            line.protocol = Some(protocol);
            line.opened += 1;
        }
        self.open_for(shared, origin, after);
        self.next_socket += 1;
        self.next_socket
    }

    /// A connection was not made: those that waited for it learn why. Over HTTP/1.1 a connection is for one waiter;
    /// otherwise it was for all, unless something else lives that can still serve them. `counted`: whether its
    /// right is still among the origin's sockets.
    pub(super) fn connect_failed(&mut self, config: &Config, origin: &Origin, counted: bool, error: &Error) {
        let Some(line) = self.lines.get_mut(origin) else {
            return;
        };
        let others = line.sockets - usize::from(counted);
        let to_fail = match line.expected_protocol(origin, config) {
            Some(Protocol::H1) => 1,
            _ if others > 0 => 1,
            _ => usize::MAX,
        };
        line.fail(to_fail, error);
    }

    /// A connect came to no end at all: nobody waits for it any longer.
    pub(super) fn connect_abandoned(&mut self, origin: &Origin) {
        if let Some(line) = self.lines.get_mut(origin) {
            line.fail(usize::MAX, &Error::new(super::Kind::Connect));
        }
    }

    /// A right is given back: its socket has closed, or was never opened.
    pub(super) fn right_ended(
        &mut self,
        shared: &Arc<Shared>,
        origin: &Origin,
        info: Option<&Info>,
        after: &mut After,
    ) {
        let was_full = self.sockets >= shared.config.max_connections.get();
        self.sockets -= 1;
        let Some(line) = self.lines.get_mut(origin) else {
            return;
        };
        line.sockets -= 1;
        match info {
            Some(info) => {
                line.closed += 1;
                line.place(info);
                line.idle.retain(|idle| idle.info.id != info.id);
                line.shared.retain(|c| c.info.id != info.id);
                self.leaving.remove(&info.id);
                self.draining.remove(&info.id);
            }
            None => line.connecting -= 1,
        }
        if was_full {
            self.open_for_the_longest_waiting(shared, after)
        } else {
            self.open_for(shared, origin, after)
        }
    }

    /// Gives out rights to open as many sockets as the waiters of an origin need and the limits allow.
    pub(super) fn open_for(&mut self, shared: &Arc<Shared>, origin: &Origin, after: &mut After) {
        let config = &shared.config;
        let Some(line) = self.lines.get(origin) else {
            return;
        };
        let wanted = line.wanted(origin, config);
        self.grant_rights(shared, origin, wanted, after);
        self.make_room(config);
    }

    /// While all sockets are taken and origins wait for one: lets go what rests elsewhere.
    fn make_room(&mut self, config: &Config) {
        if self.sockets < config.max_connections.get() {
            return;
        }
        let denied: usize = self.lines.iter().map(|(origin, line)| line.denied(origin, config)).sum();
        while self.leaving.len() < denied && self.evict_least_recently_used() {}
    }

    /// Whether a connection must go although its own origin needs it: all sockets are taken, and an origin that has
    /// none at all waits longer, without as many being `under_way` to make room.
    fn must_give_way(&self, origin: &Origin, config: &Config, under_way: usize) -> bool {
        if self.sockets < config.max_connections.get() {
            return false;
        }
        // Those who do not even have to wait came later than all who do.
        let ours = self.lines.get(origin).and_then(Line::first_ticket).unwrap_or(u64::MAX);
        let starving = self
            .lines
            .values()
            .filter(|line| line.sockets == 0 && line.first_ticket().is_some_and(|ticket| ticket < ours))
            .count();
        under_way < starving
    }

    /// Gives out up to `wanted` rights, as far as the limits allow.
    pub(super) fn grant_rights(
        &mut self,
        shared: &Arc<Shared>,
        origin: &Origin,
        wanted: usize,
        after: &mut After,
    ) {
        let config = &shared.config;
        if self.closing {
            return;
        }
        let line = match self.lines.get_mut(origin) {
            Some(line) => line,
            None => self.lines.entry(origin.clone()).or_default(),
        };
        for _ in 0..wanted {
            if self.sockets >= config.max_connections.get()
                || line.sockets >= config.max_connections_per_origin.get()
            {
                break;
            }
            self.sockets += 1;
            line.sockets += 1;
            line.connecting += 1;
            after.open.push(SocketRight::new(shared.clone(), origin.clone(), line.connect_timeout));
        }
        shared.stats.saw_sockets(self.sockets);
    }

    /// A socket of the total came free: to the origin whose first waiter came first.
    fn open_for_the_longest_waiting(&mut self, shared: &Arc<Shared>, after: &mut After) {
        let longest = self
            .lines
            .iter()
            .filter(|(origin, line)| line.denied(origin, &shared.config) > 0)
            .min_by_key(|(_, line)| line.first_ticket().unwrap_or(u64::MAX))
            .map(|(origin, _)| origin.clone());
        if let Some(origin) = longest {
            self.open_for(shared, &origin, after);
        }
    }

    /// Tells the socket that has rested longest, of any origin that waits for none, to go. False where none rests.
    fn evict_least_recently_used(&mut self) -> bool {
        let oldest = self
            .lines
            .values_mut()
            .filter(|line| line.waiting() == 0)
            .filter_map(|line| line.rests_since().map(|since| (since, line)))
            .min_by_key(|(since, _)| *since);
        let Some((since, line)) = oldest else { return false };
        let info = if line.idle.first().is_some_and(|idle| idle.since == since) {
            line.idle.remove(0).info
        } else if let Some(at) = line.shared.iter().position(|c| c.active == 0 && c.idle_since == since) {
            line.shared.remove(at).info
        } else {
            return false;
        };
        info.close_with(CloseReason::Evicted);
        self.leaving.insert(info.id);
        true
    }

    fn is_idle_full(&self, config: &Config) -> bool {
        // The count over all origins is taken only where it can matter.
        self.sockets > config.max_idle_connections && self.idle() >= config.max_idle_connections
    }

    /// Idle connections of all origins: sockets at rest and HTTP/2 connections without a stream.
    pub(super) fn idle(&self) -> usize {
        self.lines.values().map(Line::resting).sum()
    }

    /// Ends the queue and lets every resting connection go.
    pub(super) fn close(&mut self) {
        self.closing = true;
        for line in self.lines.values_mut() {
            while let Some(grant) = line.next_waiter() {
                // A caller who has gone in this moment needs no answer.
                let _ = grant.send(Err(Error::new(super::Kind::Closed)));
            }
            for idle in line.idle.drain(..) {
                idle.info.close_with(CloseReason::Shutdown);
            }
            for connection in line.shared.drain(..) {
                connection.info.close_with(CloseReason::Shutdown);
            }
        }
    }
}

impl Line {
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len() - self.gone
    }

    pub(super) fn resting(&self) -> usize {
        self.idle.len() + self.shared.iter().filter(|c| c.active == 0).count()
    }

    fn rests_since(&self) -> Option<Instant> {
        let socket = self.idle.first().map(|idle| idle.since);
        let connection = self.shared.iter().filter(|c| c.active == 0).map(|c| c.idle_since).min();
        socket.into_iter().chain(connection).min()
    }

    /// How many more sockets the waiters need. While nobody knows what the origin speaks, or how many streams it takes,
    /// one: it may turn out to carry them all.
    fn wanted(&self, origin: &Origin, config: &Config) -> usize {
        let waiting = self.waiting();
        let sockets = match self.expected_protocol(origin, config) {
            None => waiting.min(1),
            Some(Protocol::H1) => waiting,
            Some(Protocol::H2) => self.streams.map_or(waiting.min(1), |streams| waiting.div_ceil(streams)),
        };
        let unannounced = self.shared.iter().filter(|c| !c.announced).count();
        sockets.saturating_sub(self.connecting + unannounced)
    }

    /// How many of those only the limit of all sockets together denies.
    fn denied(&self, origin: &Origin, config: &Config) -> usize {
        let room = config.max_connections_per_origin.get().saturating_sub(self.sockets);
        self.wanted(origin, config).min(room)
    }

    /// The ticket of the first waiter whose caller is still there.
    fn first_ticket(&self) -> Option<u64> {
        let first = self.waiters.iter().find(|waiter| waiter.grant.is_some());
        first.map(|waiter| waiter.ticket)
    }

    /// A new connection was offered to whoever waits, or ended before.
    fn place(&mut self, info: &Info) {
        if info.place() {
            self.connecting -= 1;
        }
    }

    fn expected_protocol(&self, origin: &Origin, config: &Config) -> Option<Protocol> {
        match (config.http2, origin.secure) {
            (Http2::Never, _) | (Http2::Auto, false) => Some(Protocol::H1),
            (Http2::PriorKnowledge, _) => Some(Protocol::H2),
            (Http2::Auto, true) => self.protocol,
        }
    }

    /// The socket that came to rest last, if it is still good.
    fn lease_idle(&mut self, shared: &Arc<Shared>, now: Instant) -> Option<Lease> {
        while let Some(Idle { sender, info, since }) = self.idle.pop() {
            // hyper owns the socket: these two say what its driver saw when it was last polled, which was after the
            // socket came to rest.
            if sender.is_closed() || !sender.is_ready() {
                info.close_with(CloseReason::Server);
            } else if now >= info.retire_at {
                info.close_with(CloseReason::Age);
            } else if now.duration_since(since) >= shared.config.idle_timeout {
                info.close_with(CloseReason::Idle);
            } else {
                self.leased += 1;
                self.reused += 1;
                return Some(Lease::new(shared.clone(), Held::Socket(sender), info));
            }
        }
        None
    }

    /// A stream of the first HTTP/2 connection that has room.
    fn lease_stream(&mut self, shared: &Arc<Shared>, now: Instant) -> Option<Lease> {
        self.shared.retain(|c| {
            let reason = if c.sender.is_closed() {
                CloseReason::Server
            } else if now >= c.info.retire_at {
                CloseReason::Age
            } else if c.active == 0 && now.duration_since(c.idle_since) >= shared.config.idle_timeout {
                CloseReason::Idle
            } else {
                return true;
            };
            c.info.close_with(reason);
            false
        });
        let connection = self.shared.iter_mut().find(|c| c.active < c.limit)?;
        connection.active += 1;
        let lease =
            Lease::new(shared.clone(), Held::Stream(connection.sender.clone()), connection.info.clone());
        self.reused += u64::from(lease.is_reused());
        Some(lease)
    }

    /// Streams to waiters, as long as there are both.
    fn serve_streams(&mut self, shared: &Arc<Shared>) {
        let now = Instant::now();
        while self.waiting() > 0 {
            let Some(lease) = self.lease_stream(shared, now) else {
                return;
            };
            let Some(mut lease) = self.hand_over(lease) else {
                continue;
            };
            // Nobody waits any more after all.
            let info = lease.info().clone();
            lease.disarm();
            if let Some(connection) = self.shared.iter_mut().find(|c| c.info.id == info.id) {
                connection.active -= 1;
            }
        }
    }

    /// To the first waiter whose caller is still there; back, where there is none.
    fn hand_over(&mut self, mut lease: Lease) -> Option<Lease> {
        while let Some(grant) = self.next_waiter() {
            match grant.send(Ok(lease)) {
                Ok(()) => return None,
                // That caller has gone in this moment: `leave` will not find it, and the next one is asked.
                Err(Ok(back)) => lease = back,
                Err(Err(_)) => return None,
            }
        }
        Some(lease)
    }

    /// Answers up to `count` waiters with an error.
    fn fail(&mut self, count: usize, error: &Error) {
        let mut failed = 0;
        while failed < count {
            let Some(grant) = self.next_waiter() else { return };
            if grant.send(Err(error.clone())).is_ok() {
                failed += 1;
            }
        }
    }

    fn next_waiter(&mut self) -> Option<oneshot::Sender<Result<Lease, Error>>> {
        while let Some(waiter) = self.waiters.pop_front() {
            match waiter.grant {
                Some(grant) => return Some(grant),
                None => self.gone -= 1,
            }
        }
        None
    }
}

//! What one origin has: sockets at rest and in use, connections, and the queue of those who wait. Changed under the lock of
//! the state, which sees all origins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::Info;
use super::lease::{Held, Lease, RequestBody};
use super::stats::CloseReason;
use super::{Config, Error, Http2, Origin, Protocol, Shared};

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
    pub(super) streams: Option<usize>,
    pub(super) opened: u64,
    pub(super) reused: u64,
    pub(super) closed: u64,
    pub(super) touched: Option<Instant>,
    /// What the last checkout allows a connect.
    pub(super) connect_timeout: Duration,
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
    pub(super) announced: bool,
    pub(super) idle_since: Instant,
}

struct Waiter {
    /// Ascending in the queue.
    ticket: u64,
    /// None once the caller has gone.
    grant: Option<oneshot::Sender<Result<Lease, Error>>>,
}

impl Line {
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len() - self.gone
    }

    pub(super) fn resting(&self) -> usize {
        self.idle.len() + self.shared.iter().filter(|c| c.active == 0).count()
    }

    pub(super) fn rests_since(&self) -> Option<Instant> {
        let socket = self.idle.first().map(|idle| idle.since);
        let connection = self.shared.iter().filter(|c| c.active == 0).map(|c| c.idle_since).min();
        socket.into_iter().chain(connection).min()
    }

    /// How many more sockets the waiters need. While nobody knows what the origin speaks, or how many streams it takes,
    /// one: it may turn out to carry them all.
    pub(super) fn wanted(&self, origin: &Origin, config: &Config) -> usize {
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
    pub(super) fn denied(&self, origin: &Origin, config: &Config) -> usize {
        let room = config.max_connections_per_origin.get().saturating_sub(self.sockets);
        self.wanted(origin, config).min(room)
    }

    /// The ticket of the first waiter whose caller is still there.
    pub(super) fn first_ticket(&self) -> Option<u64> {
        let first = self.waiters.iter().find(|waiter| waiter.grant.is_some());
        first.map(|waiter| waiter.ticket)
    }

    /// A new connection was offered to whoever waits, or ended before.
    pub(super) fn place(&mut self, info: &Info) {
        if info.place() {
            self.connecting -= 1;
        }
    }

    pub(super) fn expected_protocol(&self, origin: &Origin, config: &Config) -> Option<Protocol> {
        match (config.http2, origin.secure) {
            (Http2::Never, _) | (Http2::Auto, false) => Some(Protocol::H1),
            (Http2::PriorKnowledge, _) => Some(Protocol::H2),
            (Http2::Auto, true) => self.protocol,
        }
    }

    /// The socket that came to rest last, if it is still good.
    pub(super) fn lease_idle(&mut self, shared: &Arc<Shared>, now: Instant) -> Option<Lease> {
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
    pub(super) fn lease_stream(&mut self, shared: &Arc<Shared>, now: Instant) -> Option<Lease> {
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
    pub(super) fn serve_streams(&mut self, shared: &Arc<Shared>) {
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
    pub(super) fn hand_over(&mut self, mut lease: Lease) -> Option<Lease> {
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
    pub(super) fn fail(&mut self, count: usize, error: &Error) {
        let mut failed = 0;
        while failed < count {
            let Some(grant) = self.next_waiter() else { return };
            if grant.send(Err(error.clone())).is_ok() {
                failed += 1;
            }
        }
    }

    /// A place at the end of the queue.
    pub(super) fn join(&mut self, ticket: u64) -> oneshot::Receiver<Result<Lease, Error>> {
        let (grant, granted) = oneshot::channel();
        self.waiters.push_back(Waiter { ticket, grant: Some(grant) });
        granted
    }

    /// A waiter's caller has gone without a lease.
    pub(super) fn leave(&mut self, ticket: u64) {
        let Ok(at) = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket) else {
            return;
        };
        self.waiters[at].grant = None;
        self.gone += 1;
        // Swept in bulk, so that ten thousand callers who leave at once cost no quadratic time.
        if self.gone > 16 && self.gone * 2 > self.waiters.len() {
            self.waiters.retain(|waiter| waiter.grant.is_some());
            self.gone = 0;
        }
    }

    pub(super) fn next_waiter(&mut self) -> Option<oneshot::Sender<Result<Lease, Error>>> {
        while let Some(waiter) = self.waiters.pop_front() {
            match waiter.grant {
                Some(grant) => return Some(grant),
                None => self.gone -= 1,
            }
        }
        None
    }
}

//! The locked data, and what happens to it. No I/O and no await in here; whatever must
//! happen outside of the lock is returned as [`After`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::{Info, SocketRight};
use super::lease::{Held, Lease, RequestBody};
use super::line::{Idle, Line, Multiplexed};
use super::stats::CloseReason;
use super::{Config, Error, Origin, Protocol, Shared};

#[derive(Default)]
pub(super) struct State {
    pub(super) lines: HashMap<Origin, Line>,
    /// Rights given out: sockets open, closing, or being opened.
    pub(super) sockets: usize,
    /// Idle sockets that were told to go so that another can be opened, and have not gone yet, by their number.
    pub(super) leaving: HashSet<u64>,
    /// HTTP/2 connections that were told the same while they have streams. That may take minutes: they are no reason to
    /// let nobody else go.
    pub(super) draining: HashSet<u64>,
    next_ticket: u64,
    next_socket: u64,
    pub(super) closing: bool,
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
        // Whoever waits for a connection that is being made, or can be, does not wait for others.
        let room = shared.config.max_connections_per_origin.get().saturating_sub(line.sockets);
        let coming =
            line.connecting + room.min(shared.config.max_connections.get().saturating_sub(self.sockets));
        if line.waiting() >= shared.config.max_waiting.saturating_add(coming) {
            return Err(Error::new(super::Kind::QueueFull(shared.config.max_waiting)));
        }
        if fresh && is_full && !line.idle.is_empty() {
            // What rests here is suspect, and stands in the way of a fresh socket.
            let info = line.idle.remove(0).info;
            info.close_with(CloseReason::Evicted);
            self.leaving.insert(info.id);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let granted = line.join(ticket);
        self.open_for(shared, origin, after);
        Ok(Found::Wait(granted, ticket))
    }

    /// A waiter's caller has gone without a lease.
    pub(super) fn leave(&mut self, origin: &Origin, ticket: u64) {
        let Some(line) = self.lines.get_mut(origin) else {
            return;
        };
        line.leave(ticket);
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
        if let Some(unused) = line.shared.last().filter(|connection| connection.active == 0) {
            // Nobody waited for it: whoever comes finds it there, and pays nothing for it.
            unused.info.lease_again();
        }
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

    /// Lets go what rests now.
    pub(super) fn close_idle(&mut self) {
        for line in self.lines.values_mut() {
            for idle in line.idle.drain(..) {
                idle.info.close_with(CloseReason::Shutdown);
            }
            // One whose SETTINGS are not here yet was just made for somebody.
            line.shared.retain(|connection| {
                let rests = connection.active == 0 && connection.announced;
                if rests {
                    connection.info.close_with(CloseReason::Shutdown);
                }
                !rests
            });
        }
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

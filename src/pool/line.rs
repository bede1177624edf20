//! What one partition of an origin has: sockets at rest and in use, connections, and the queue of those who wait. Changed under the
//! lock of the state, which sees all lines.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::info::{Info, Riding};
use super::lease::{Held, Lease};
use super::limit::{Hunger, LineId};
use super::partition::Partition;
use super::queue::Queue;
use super::resting::{Owner, Resting, Seat};
use super::rights::Bound;
use super::sent::SentBody;
use super::site::STREAMS_AT_ONCE;
use super::stats::CloseReason;
use super::{Error, Shared};

/// By what a waiter gets its answer.
pub(super) type Grant = oneshot::Sender<Result<Lease, Error>>;

/// Origin, tenant, lane: what its calls share, and nobody else.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) partition: Partition,
    /// The number of its origin, and of its tenant.
    pub(super) site: usize,
    pub(super) tenant: Option<usize>,
    /// HTTP/1.1 sockets at rest; the last one in is the first one out.
    pub(super) idle: Vec<Idle>,
    /// HTTP/2 connections that take new streams, in the order of their opening: the first with room is filled first.
    pub(super) shared: Vec<Multiplexed>,
    pub(super) queue: Queue<Grant>,
    /// Where it stands among the hungry, if a limit denies it a socket.
    pub(super) hungry: Option<(Bound, Hunger)>,
    pub(super) sockets: usize,
    /// Of them, those that nobody was offered yet.
    pub(super) connecting: usize,
    /// HTTP/1.1 sockets in use.
    pub(super) leased: usize,
    /// HTTP/2 streams in use, those of connections that only finish them included.
    pub(super) streams: usize,
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) reused: Arc<AtomicU64>,
    pub(super) touched: Instant,
    /// What the last checkout allows a connect, and its ageing.
    pub(super) connect_timeout: Duration,
    pub(super) aging: Duration,
}

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<SentBody>,
    pub(super) info: Arc<Info>,
    pub(super) since: Instant,
    /// When it is given up: by our idle timeout, or before the server does. None for never.
    pub(super) until: Option<Instant>,
    pub(super) seat: Seat,
}

#[derive(Debug)]
pub(super) struct Multiplexed {
    pub(super) sender: http2::SendRequest<SentBody>,
    pub(super) info: Arc<Info>,
    pub(super) active: usize,
    /// Streams given out so far, and how many may be before it has shown that it answers more.
    pub(super) given: usize,
    pub(super) quota: Option<usize>,
    /// The lower of ours and the server's.
    pub(super) limit: usize,
    /// Whether the server has said its limit, and ever one above none.
    pub(super) announced: bool,
    pub(super) took_streams: bool,
    pub(super) idle_since: Instant,
    /// Where it has no streams.
    pub(super) seat: Option<Seat>,
}

impl Line {
    pub(super) fn new(partition: Partition, site: usize, tenant: Option<usize>, now: Instant) -> Self {
        Self {
            partition,
            site,
            tenant,
            idle: Vec::new(),
            shared: Vec::new(),
            queue: Queue::default(),
            hungry: None,
            sockets: 0,
            connecting: 0,
            leased: 0,
            streams: 0,
            opened: 0,
            closed: 0,
            reused: Arc::default(),
            touched: now,
            connect_timeout: Duration::ZERO,
            aging: Duration::MAX,
        }
    }

    /// Whose its connections are.
    pub(super) fn owner(&self, id: LineId) -> Owner {
        Owner { line: id, site: self.site, tenant: self.tenant }
    }

    /// A new HTTP/2 connection that nobody waited for: whoever comes finds it there, and pays nothing for it.
    pub(super) fn note_unused(&self, info: &Info) {
        if self.shared.iter().any(|c| c.info.id == info.id && c.active == 0) {
            info.lease_again();
        }
    }

    /// Connections that can still serve whoever waits, beside so many of those being made. Not those that only finish what they have.
    pub(super) fn others(&self, connecting: usize) -> usize {
        self.leased + self.idle.len() + self.shared.len() + self.connecting.saturating_sub(connecting)
    }

    /// Nothing is open, in use or waited for. A lease can outlive its socket: a body that nobody reads while the server hangs up.
    pub(super) fn is_unused(&self) -> bool {
        self.sockets == 0 && self.leased == 0 && self.streams == 0 && self.queue.is_empty()
    }

    /// Whether it has anything but sockets that rest or close.
    pub(super) fn has_calls(&self) -> bool {
        self.leased > 0 || self.streams > 0 || self.connecting > 0 || !self.queue.is_empty()
    }

    pub(super) fn resting(&self) -> usize {
        self.idle.len() + self.shared.iter().filter(|c| c.active == 0).count()
    }

    /// The socket that came to rest last, if it is still good.
    pub(super) fn lease_idle(
        &mut self,
        shared: &Arc<Shared>,
        now: Instant,
        resting: &mut Resting,
    ) -> Option<Lease> {
        while let Some(idle) = self.idle.pop() {
            let reason = idle.must_close(now);
            let Idle { sender, info, since, seat, .. } = idle;
            resting.leave(seat);
            if let Some(reason) = reason {
                info.close_with(reason);
                continue;
            }
            self.leased += 1;
            let mut lease = Lease::new(shared.clone(), Held::Socket(sender), info);
            lease.set_rested(since, now);
            return Some(lease);
        }
        None
    }

    /// A stream of the first HTTP/2 connection that has room.
    pub(super) fn lease_stream(
        &mut self,
        shared: &Arc<Shared>,
        now: Instant,
        resting: &mut Resting,
    ) -> Option<Lease> {
        let idle_timeout = shared.config.of(&self.partition.origin).idle_timeout;
        self.give_up_shared(resting, |c| c.must_close(now, idle_timeout));
        let connection = self.shared.iter_mut().find(|c| c.has_room())?;
        self.streams += 1;
        connection.active += 1;
        connection.given += 1;
        let held = Held::Stream(connection.sender.clone(), Riding::new(&connection.info));
        let mut lease = Lease::new(shared.clone(), held, connection.info.clone());
        if !connection.announced {
            lease.set_untold(connection.given <= STREAMS_AT_ONCE);
        }
        if let Some(seat) = connection.seat.take() {
            resting.leave(seat);
            lease.set_rested(connection.idle_since, now);
        }
        Some(lease)
    }

    /// Streams to waiters, as long as there are both.
    pub(super) fn serve_streams(&mut self, shared: &Arc<Shared>, id: LineId, resting: &mut Resting) {
        let (now, owner) = (Instant::now(), self.owner(id));
        while !self.queue.is_empty() {
            let Some(lease) = self.lease_stream(shared, now, resting) else {
                return;
            };
            let Some(mut lease) = self.hand_over(lease) else {
                continue;
            };
            // Nobody waits any more after all.
            let Some((_, info)) = lease.disarm() else { return };
            self.streams -= 1;
            if let Some(connection) = self.shared.iter_mut().find(|c| c.info.id == info.id) {
                connection.release(owner, now, resting);
            }
        }
    }

    /// To the first waiter whose caller is still there; back, where there is none.
    pub(super) fn hand_over(&mut self, mut lease: Lease) -> Option<Lease> {
        while let Some(grant) = self.queue.next() {
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
            let Some(grant) = self.queue.next() else { return };
            if grant.send(Err(error.clone())).is_ok() {
                failed += 1;
            }
        }
    }

    /// Closes the sockets at rest for which there is a reason.
    pub(super) fn give_up_idle(
        &mut self,
        resting: &mut Resting,
        reason: impl Fn(&Idle) -> Option<CloseReason>,
    ) {
        let goes = |idle: &mut Idle| reason(idle).map(|reason| idle.info.close_with(reason)).is_some();
        for idle in self.idle.extract_if(.., goes) {
            resting.leave(idle.seat);
        }
    }

    /// Gives no more streams of the connections for which there is a reason; they end with the streams that they have.
    pub(super) fn give_up_shared(
        &mut self,
        resting: &mut Resting,
        reason: impl Fn(&Multiplexed) -> Option<CloseReason>,
    ) {
        let goes = |c: &mut Multiplexed| reason(c).map(|reason| c.info.close_with(reason)).is_some();
        for connection in self.shared.extract_if(.., goes) {
            if let Some(seat) = connection.seat {
                resting.leave(seat);
            }
        }
    }
}

impl Idle {
    /// Why it is given out no more, if it is not.
    pub(super) fn must_close(&self, now: Instant) -> Option<CloseReason> {
        // hyper owns the socket: these two say what its driver saw when it was last polled, which was after the socket came to rest.
        if self.sender.is_closed() || !self.sender.is_ready() {
            Some(CloseReason::Server)
        } else if now >= self.info.retire_at {
            Some(CloseReason::Age)
        } else if self.until.is_some_and(|until| now >= until) {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }
}

impl Multiplexed {
    /// Why it gives no more streams, if it does not.
    pub(super) fn must_close(&self, now: Instant, idle_timeout: Duration) -> Option<CloseReason> {
        if self.sender.is_closed() {
            Some(CloseReason::Server)
        } else if now >= self.info.retire_at {
            Some(CloseReason::Age)
        } else if self.active == 0 && now.saturating_duration_since(self.idle_since) >= idle_timeout {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many more streams it is given now.
    pub(super) fn room(&self) -> usize {
        let room = self.limit.saturating_sub(self.active);
        match self.quota {
            None => room,
            // One at a time beyond its quota finds out whether it goes on.
            Some(quota) if self.active == 0 => room.min(quota.saturating_sub(self.given).max(1)),
            Some(quota) => room.min(quota.saturating_sub(self.given)),
        }
    }

    /// A stream has ended.
    pub(super) fn release(&mut self, owner: Owner, since: Instant, resting: &mut Resting) {
        self.active -= 1;
        self.idle_since = since;
        if self.active == 0 {
            self.seat = Some(resting.join(owner));
        }
    }
}

//! What connections bring: sockets and streams, for whoever waits, or to rest.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::info::Info;
use super::lease::{Held, Lease};
use super::limit::{Limit, LineId};
use super::line::Multiplexed;
use super::sent::SentBody;
use super::state::{After, State};
use super::stats::CloseReason;
use super::{Protocol, Shared};

/// How a socket comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    New,
    /// Out of use.
    Back,
    /// Nothing was sent on it, and it had rested since then.
    Unused(Instant),
}

impl State {
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
            site.protocol = Some(protocol);
        }
        self.feed(shared, id, after);
        if is_news {
            self.reconsider_neighbours(shared, id, after);
        }
        self.next_socket += 1;
        (self.next_socket, reused)
    }

    /// What an origin speaks is known now: other lines of it waited for what they need in any case.
    fn reconsider_neighbours(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) {
        let Some(site) = self.lines.get(id).map(|line| line.site) else { return };
        let neighbours = self.lines.iter().filter(|(_, line)| line.site == site);
        let mut waiting: Vec<_> =
            neighbours.filter_map(|(id, line)| Some((line.queue.claim()?.urgent, id))).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            self.reconsider(shared, id, after);
        }
    }

    /// A socket that can serve again, or for the first time: to the first waiter, or to rest.
    pub(super) fn put_socket(
        &mut self,
        shared: &Arc<Shared>,
        sender: http1::SendRequest<SentBody>,
        info: Arc<Info>,
        arrival: Arrival,
        after: &mut After,
    ) {
        let id = info.line;
        let mut was_probed = false;
        match arrival {
            Arrival::New => {
                self.placed(&info);
                was_probed = !sender.is_closed() && self.takes_connections(id);
            }
            Arrival::Back | Arrival::Unused(_) => self.discard(&info),
        }
        self.hand_on(shared, sender, info, arrival, after);
        if was_probed {
            self.feed(shared, id, after);
        }
    }

    fn hand_on(
        &mut self,
        shared: &Arc<Shared>,
        sender: http1::SendRequest<SentBody>,
        info: Arc<Info>,
        arrival: Arrival,
        after: &mut After,
    ) {
        let now = Instant::now();
        let id = info.line;
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
            // Whoever had counted on it wants another.
            self.reconsider(shared, id, after);
            return;
        }
        let waits = self.lines.get(id).is_some_and(|line| !line.queue.is_empty());
        // Where nobody waits it comes to rest, and what has rested longest goes. The place of a new one was its line's by right.
        if waits && !matches!(arrival, Arrival::New) && self.must_give_way(id, false) {
            self.tell_to_go(id, &info, false);
            self.reconsider(shared, id, after);
            return;
        }
        let Some(line) = self.lines.get_mut(id) else { return };
        line.leased += 1;
        let back = line.hand_over(Lease::new(shared.clone(), Held::Socket(sender), info));
        if let Some(mut lease) = back {
            line.leased -= 1;
            if let Some((Held::Socket(sender), info)) = lease.disarm() {
                let since = if let Arrival::Unused(since) = arrival { since } else { now };
                self.rest(shared, sender, info, since);
            }
        }
        if self.lines.get(id).is_some_and(|line| line.hungry.is_some()) {
            self.reconsider(shared, id, after);
        }
    }

    /// A new HTTP/2 connection: to as many waiters as it has streams for. `told`: how many the server takes, if it has said so.
    pub(super) fn put_connection(
        &mut self,
        shared: &Arc<Shared>,
        sender: http2::SendRequest<SentBody>,
        info: Arc<Info>,
        told: Option<usize>,
        after: &mut After,
    ) {
        let id = info.line;
        self.placed(&info);
        let was_probed = told != Some(0) && self.takes_connections(id);
        self.offer(shared, sender, info, told, after);
        if was_probed {
            self.feed(shared, id, after);
        }
    }

    fn offer(
        &mut self,
        shared: &Arc<Shared>,
        sender: http2::SendRequest<SentBody>,
        info: Arc<Info>,
        told: Option<usize>,
        after: &mut After,
    ) {
        let id = info.line;
        if self.closing {
            info.close_with(CloseReason::Shutdown);
            return;
        }
        let Self { lines, sites, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        let Some(site) = sites.get(line.site) else { return };
        line.shared.push(Multiplexed {
            sender,
            info: info.clone(),
            active: 0,
            given: 0,
            quota: site.quota(),
            // Served when what the server says has been taken in.
            limit: if told.is_some() { 0 } else { site.expected_streams(shared.config.of(&info.origin)) },
            announced: false,
            took_streams: false,
            idle_since: Instant::now(),
            seat: Some(resting.join(line.owner(id))),
        });
        if let Some(theirs) = told {
            self.set_stream_limit(shared, &info, theirs, after);
            return;
        }
        line.serve_streams(shared, id, resting);
        line.note_unused(&info);
        self.reconsider(shared, id, after);
        self.bound_resting(shared);
        self.make_room_beside(id);
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
        let limit = theirs.min(shared.config.of(&info.origin).max_streams_per_connection.get());
        if limit > 0 {
            site.streams = Some(limit);
        }
        let connection = line.shared.iter_mut().find(|c| c.info.id == info.id);
        if !info.told.is_cancelled() {
            // Of one that was told to go before, nobody knows how many it has.
            info.tell(connection.as_ref().is_none_or(|c| c.active > limit));
        }
        if let Some(connection) = connection {
            connection.limit = limit;
            connection.announced = true;
            connection.took_streams |= limit > 0;
            if !connection.took_streams {
                info.takes_none();
            }
            if limit == 0 && connection.active == 0 {
                self.takes_no_streams(shared, info, after);
                return;
            }
        }
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        line.serve_streams(shared, id, resting);
        line.note_unused(info);
        self.reconsider(shared, id, after);
        self.bound_resting(shared);
        self.make_room_beside(id);
    }

    /// A stream has ended.
    ///
    /// `unused`: nothing was sent on it, and the connection had rested since then.
    pub(super) fn release_stream(
        &mut self,
        shared: &Arc<Shared>,
        info: &Info,
        unused: Option<Instant>,
        after: &mut After,
    ) {
        let since = unused.unwrap_or_else(Instant::now);
        let id = info.line;
        let must_give_way = self.must_give_way(id, true);
        let Self { lines, sites, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return };
        line.streams -= 1;
        let Some(at) = line.shared.iter().position(|c| c.info.id == info.id) else {
            if info.reason() == CloseReason::Goaway
                && let Some(site) = sites.get_mut(line.site)
            {
                site.said_goaway_after(info.answers(), shared.config.of(&info.origin));
            }
            return;
        };
        let owner = line.owner(id);
        let connection = &mut line.shared[at];
        connection.release(owner, since, resting);
        let rests = connection.active == 0;
        if connection.quota.is_some_and(|quota| info.answers() > quota) {
            connection.quota = None;
            if let Some(site) = sites.get_mut(line.site) {
                site.outlived_quota();
            }
        }
        if must_give_way && (!rests || !line.queue.is_empty()) {
            // It ends with the streams that it has: one that always has some would never come to rest.
            self.take_out(info);
            self.tell_to_go(id, info, !rests);
            self.reconsider(shared, id, after);
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
    }

    /// A connection that was offered to whoever waits, or has ended before, no longer counts as connecting.
    fn placed(&mut self, info: &Info) {
        if info.place() {
            self.no_longer_connecting(info.line);
        }
    }

    /// An origin takes connections. True if it refused some before: then all who wait for it may open theirs.
    fn takes_connections(&mut self, id: LineId) -> bool {
        let Some((_, site)) = self.line_and_site_mut(id) else { return false };
        let was_probed = site.is_probed();
        site.takes_connections();
        was_probed
    }

    fn no_longer_connecting(&mut self, id: LineId) {
        if let Some((line, site)) = self.line_and_site_mut(id) {
            line.connecting -= 1;
            site.connecting -= 1;
        }
    }
}

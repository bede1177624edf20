//! Who may open a socket: four limits, those whom they deny one, and what gives way where all sockets are taken.
//!
//! A socket counts against the limits of its lane, its tenant, its origin and the whole pool. A line that wants one and is denied it
//! stands among the hungry of the first limit that denies it, and nowhere else. When a limit gets room, the hungry line that goes first
//! takes it (`limit`: by priority, and every fourth time by age), or moves on to the limit that denies it now. So no line has to be looked
//! for, however many there are.

use std::sync::Arc;

use super::limit::{Hunger, Limit, LineId};
use super::right::SocketRight;
use super::state::{After, State};
use super::{Protocol, Shared};

/// A limit, as seen from a line. The narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Lane,
    Tenant,
    Site,
    Pool,
}

pub(super) const BOUNDS: [Bound; 4] = [Bound::Lane, Bound::Tenant, Bound::Site, Bound::Pool];

impl State {
    /// Looks at a line again after something of it has changed: gives out rights to open as many sockets as its waiters need, and
    /// puts it in its place among the hungry if a limit denies them. Without waiters this costs nothing.
    pub(super) fn reconsider(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) {
        self.strike(id);
        loop {
            let wanted = self.wanted(shared, id);
            if wanted == 0 || self.closing {
                return;
            }
            match self.denied_by(id) {
                None => self.grant_right(shared, id, after),
                // What waits for another connection in vain may as well try those that are there.
                Some(_) if self.lift_quotas(shared, id) => {}
                Some(bound) => {
                    self.enlist(id, bound, wanted);
                    self.make_room(id, bound);
                    return;
                }
            }
        }
    }

    /// Gives waiters the streams that were held back on connections which may end soon; false where there are none.
    fn lift_quotas(&mut self, shared: &Arc<Shared>, id: LineId) -> bool {
        let Self { lines, resting, .. } = self;
        let Some(line) = lines.get_mut(id) else { return false };
        let mut lifted = false;
        for connection in line.shared.iter_mut().filter(|c| c.active < c.limit && !c.has_room()) {
            connection.quota = None;
            lifted = true;
        }
        if lifted {
            line.serve_streams(shared, id, resting);
        }
        lifted
    }

    /// How many more sockets the waiters of a line need. While nobody knows what the origin speaks, as many as they need in any case: one
    /// for each hundred of them (or what `max_streams_per_connection` is), since it may turn out to carry these, and no more.
    fn wanted(&self, shared: &Shared, id: LineId) -> usize {
        let Some((line, site)) = self.line_and_site(id) else { return 0 };
        let waiting = line.queue.len();
        if waiting == 0 {
            return 0;
        }
        let origin = &line.partition.origin;
        let config = shared.config.of(origin);
        let protocol = site.expected_protocol(origin, config);
        let calls_each = match protocol {
            Some(protocol) => site.calls_each(protocol, config),
            None => config.max_streams_per_connection.get(),
        };
        let sockets = waiting.div_ceil(calls_each);
        // A connection that may turn out to take streams serves its waiters then.
        let untold = line.shared.iter().filter(|c| !c.announced && c.limit == 0).count();
        sockets.saturating_sub(line.connecting + untold)
    }

    /// The first limit that denies a line another socket.
    pub(super) fn denied_by(&self, id: LineId) -> Option<Bound> {
        let denies = |bound| self.is_probing(id, bound) || self.limit(id, bound).is_some_and(Limit::is_full);
        BOUNDS.into_iter().find(|bound| denies(*bound))
    }

    /// How many more sockets a line could open.
    pub(super) fn room(&self, id: LineId) -> usize {
        BOUNDS.into_iter().filter_map(|bound| self.limit(id, bound)).map(Limit::room).min().unwrap_or(0)
    }

    /// Gives out rights until a line has so many sockets or, over HTTP/2, sockets with so many streams, as far as the limits allow: of
    /// sockets at rest, that of their number included. Who asks has one of those in use, which will rest as well.
    pub(super) fn open_up_to(
        &mut self,
        shared: &Arc<Shared>,
        id: LineId,
        protocol: Protocol,
        wanted: usize,
        after: &mut After,
    ) {
        let Some((line, site)) = self.line_and_site(id) else { return };
        let in_use = (line.leased + line.shared.iter().filter(|c| c.active > 0).count()).saturating_sub(1);
        let wanted = wanted
            .div_ceil(site.calls_each(protocol, shared.config.of(&line.partition.origin)))
            .min(in_use + shared.config.max_idle_connections);
        while !self.closing
            && self.lines.get(id).is_some_and(|line| line.sockets < wanted)
            && self.denied_by(id).is_none()
        {
            self.grant_right(shared, id, after);
        }
    }

    /// Gives out one right. The limits have room for it.
    fn grant_right(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) {
        self.each_limit(id, Limit::take);
        shared.stats.saw_sockets(self.all.used());
        let Some((line, site)) = self.line_and_site_mut(id) else { return };
        line.sockets += 1;
        line.connecting += 1;
        site.connecting += 1;
        let (origin, limit) = (line.partition.origin.clone(), line.connect_timeout);
        after.open.push(SocketRight::new(shared.clone(), id, origin, limit, site.not_before()));
    }

    /// A socket of a line has gone, or its origin takes connections again: whoever goes first, of those it stood in the way of, may
    /// open one.
    pub(super) fn feed(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) {
        // The line itself may want another in its place, and contends for it.
        if self.lines.get(id).is_some_and(|line| line.hungry.is_none()) {
            let wanted = self.wanted(shared, id);
            if wanted > 0 && !self.closing {
                self.enlist(id, Bound::Pool, wanted);
            }
        }
        while self.feed_one(shared, id, after) {}
        if self.lines.get(id).is_some_and(|line| line.hungry.is_some()) {
            // To the limit that denies it now.
            self.reconsider(shared, id, after);
        }
        // What was told to go for one of them may be another's by now.
        self.make_room_beside(id);
    }

    /// Whoever goes first takes a place, or goes to where it is denied one: each turn leaves less to do. False where there is nobody.
    fn feed_one(&mut self, shared: &Arc<Shared>, id: LineId, after: &mut After) -> bool {
        let has_room = |bound: &Bound| {
            !self.is_probing(id, *bound) && self.limit(id, *bound).is_some_and(|limit| !limit.is_full())
        };
        let heads = BOUNDS.map(|bound| {
            Some(bound).filter(has_room).and_then(|bound| self.limit(id, bound)).and_then(Limit::heads)
        });
        let contending = || heads.iter().flatten();
        let owed = contending().filter(|heads| heads.owed).map(|heads| heads.due).min();
        let urgent = contending().map(|heads| heads.urgent).min();
        let Some(next) = owed.map(|(_, line)| line).or(urgent.map(|(.., line)| line)) else { return false };
        let (claim, before) = (self.lines.get(next).and_then(|line| line.queue.claim()), self.all.used());
        self.reconsider(shared, next, after);
        if self.all.used() > before
            && let (Some(claim), Some(first)) = (claim, contending().map(|heads| heads.due).min())
        {
            self.each_limit(id, |limit| limit.count(first, next, claim.due));
            if let Some(line) = self.lines.get_mut(next).filter(|_| owed.is_some()) {
                line.queue.owe();
            }
        }
        debug_assert!(self.lines.contains(next), "a line that is hungry is there");
        self.lines.contains(next)
    }

    /// Whether a connect is under way that finds out whether the origin takes connections again.
    fn is_probing(&self, id: LineId, bound: Bound) -> bool {
        bound == Bound::Site
            && self.line_and_site(id).is_some_and(|(_, site)| site.is_probed() && site.connecting > 0)
    }

    /// Takes a line out from among the hungry.
    pub(super) fn strike(&mut self, id: LineId) {
        if let Some((bound, hunger)) = self.lines.get_mut(id).and_then(|line| line.hungry.take())
            && let Some(limit) = self.limit_mut(id, bound)
        {
            limit.strike(id, hunger);
            self.hungry -= 1;
        }
    }

    fn enlist(&mut self, id: LineId, bound: Bound, wanted: usize) {
        // It could not use more than the narrower limits allow.
        let narrower = BOUNDS.into_iter().take_while(|narrower| *narrower != bound);
        let usable = narrower.filter_map(|narrower| self.limit(id, narrower)).map(Limit::room).min();
        let wanted = usable.map_or(wanted, |usable| wanted.min(usable));
        let Some(line) = self.lines.get_mut(id) else { return };
        let Some(claim) = line.queue.claim() else { return };
        let hunger = Hunger { claim, wanted, starving: line.sockets == 0 };
        line.hungry = Some((bound, hunger));
        if let Some(limit) = self.limit_mut(id, bound) {
            limit.enlist(id, hunger);
            self.hungry += 1;
        }
    }

    pub(super) fn limit(&self, id: LineId, bound: Bound) -> Option<&Limit> {
        let (line, site) = self.line_and_site(id)?;
        match bound {
            Bound::Lane => line.partition.lane.and_then(|lane| site.lane(lane)),
            Bound::Tenant => {
                line.tenant.and_then(|tenant| self.tenants.get(tenant)).map(|tenant| &tenant.limit)
            }
            Bound::Site => Some(&site.limit),
            Bound::Pool => Some(&self.all),
        }
    }

    fn limit_mut(&mut self, id: LineId, bound: Bound) -> Option<&mut Limit> {
        let line = self.lines.get(id)?;
        match bound {
            Bound::Lane => {
                let lane = line.partition.lane?;
                self.sites.get_mut(line.site)?.lane_mut(lane)
            }
            Bound::Tenant => self.tenants.get_mut(line.tenant?).map(|tenant| &mut tenant.limit),
            Bound::Site => self.sites.get_mut(line.site).map(|site| &mut site.limit),
            Bound::Pool => Some(&mut self.all),
        }
    }

    pub(super) fn each_limit(&mut self, id: LineId, change: impl Fn(&mut Limit)) {
        for bound in BOUNDS {
            if let Some(limit) = self.limit_mut(id, bound) {
                change(limit);
            }
        }
    }
}

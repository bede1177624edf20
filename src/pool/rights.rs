//! Who may open a socket: the limits, and what gives way where all sockets are taken.

use std::sync::Arc;

use super::connection::SocketRight;
use super::line::Line;
use super::state::{After, State};
use super::stats::CloseReason;
use super::{Config, Origin, Shared};

impl State {
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
    pub(super) fn make_room(&mut self, config: &Config) {
        if self.sockets < config.max_connections.get() {
            return;
        }
        let denied: usize = self.lines.iter().map(|(origin, line)| line.denied(origin, config)).sum();
        while self.leaving.len() < denied && self.evict_least_recently_used() {}
    }

    /// Whether a connection must go although its own origin needs it: all sockets are taken, and an origin that has
    /// none at all waits longer, without as many being `under_way` to make room.
    pub(super) fn must_give_way(&self, origin: &Origin, config: &Config, under_way: usize) -> bool {
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
    pub(super) fn open_for_the_longest_waiting(&mut self, shared: &Arc<Shared>, after: &mut After) {
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
    pub(super) fn evict_least_recently_used(&mut self) -> bool {
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

    pub(super) fn is_idle_full(&self, config: &Config) -> bool {
        // The count over all origins is taken only where it can matter.
        self.sockets > config.max_idle_connections && self.idle() >= config.max_idle_connections
    }

    /// Idle connections of all origins: sockets at rest and HTTP/2 connections without a stream.
    pub(super) fn idle(&self) -> usize {
        self.lines.values().map(Line::resting).sum()
    }
}

//! What callers want: a connection now, or a place in the queue.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::limit::LineId;
use super::partition::Partition;
use super::queue::{Priority, Rank};
use super::state::{After, Found, State};
use super::{Checkout, Error, Kind, Shared};

impl State {
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
        let id = self.line_of(partition, &shared.config, now).inspect_err(|_| shared.stats.refused())?;
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
        if how.fail_fast && line.others(line.connecting) == 0 {
            let put_off = self.sites.get(line.site).and_then(|site| site.is_put_off(now));
            if let Some(last) = put_off {
                return Err(last.put_off());
            }
        }
        let Some(line) = self.lines.get(id) else {
            return Err(Error::new(Kind::Closed));
        };
        if line.queue.len() >= how.max_waiting.saturating_add(self.coming(shared, id)) {
            shared.stats.refused();
            return Err(Error::new(Kind::QueueFull(how.max_waiting)));
        }
        if how.fresh && self.room(id) == 0 {
            // What rests here is suspect, and stands in the way of a fresh socket.
            self.evict_longest_resting(id);
        }
        self.next_ticket += 1;
        let rank = Rank::new(how.since.unwrap_or(now), how.priority, how.aging, self.next_ticket);
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

    /// Those who wait for a connection that is being made, or can be, do not wait for others.
    fn coming(&self, shared: &Shared, id: LineId) -> usize {
        let Some((line, site)) = self.line_and_site(id) else { return 0 };
        let origin = &line.partition.origin;
        let config = shared.config.of(origin);
        let protocol = site.expected_protocol(origin, config);
        let calls = protocol.map_or(1, |protocol| site.calls_each(protocol, config));
        (line.connecting + self.room(id)).saturating_mul(calls)
    }
}

//! Attempts side by side: each has a record, and one of them goes on as that of the call.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Own, Record};
use crate::client::money::Charge;
use crate::error::Attempt;

/// Attempts that others hand over, and what they came to.
pub(super) type Lost = Arc<Mutex<(Vec<Attempt>, Charge)>>;

impl Record {
    /// The attempt under way may get rivals: what becomes of those is told to this record.
    pub(in crate::client) fn begin_race(&mut self) {
        self.lost = Some(Lost::default());
    }

    /// The record of another attempt of the same call, which begins then.
    pub(in crate::client) fn fork(&self, began: Instant) -> Self {
        Self {
            attempt: Some(began),
            queued: self.queued,
            retries: self.retries,
            provider: self.provider.clone(),
            wanted: self.wanted.clone(),
            limits: self.limits.clone(),
            model: self.asked.clone(),
            dropped: self.dropped.clone(),
            lost: self.lost.clone(),
            witness: self.witness.clone(),
            row: self.row.clone(),
            seat: self.seat.clone(),
            ..Self::of(self.started, self.asked.clone())
        }
    }

    /// Goes on as the record of the rival that has decided the race.
    pub(in crate::client) fn adopt(&mut self, rival: Option<Self>) {
        if let Some(rival) = rival {
            self.take_lost();
            let attempts = std::mem::take(&mut self.attempts);
            let (hold, shown, mut spent) = (self.hold.0.take(), self.shown.take(), self.spent);
            spent.add(rival.spent);
            *self = Self { attempts, hold: Own(hold), shown, spent, ..rival };
        }
    }

    /// Ends the attempt under way: nobody waits for its answer, since another was first.
    pub(in crate::client) fn give_up(&mut self) {
        self.abandon("ERR_HEDGED");
    }

    /// Hands over what is known of a rival that did not decide the race.
    pub(in crate::client) fn lose(mut self) {
        if let Some(lost) = self.lost.take() {
            let mut lost = lost.lock();
            lost.0.append(&mut self.attempts);
            lost.1.add(self.spent);
        }
    }

    pub(super) fn take_lost(&mut self) {
        if let Some(lost) = &self.lost {
            let mut lost = lost.lock();
            self.attempts.append(&mut lost.0);
            self.spent.add(std::mem::take(&mut lost.1));
        }
    }

    /// Takes in the record of a part of this call.
    pub(in crate::client) fn absorb(&mut self, mut part: Self) {
        part.abandon("ERR_ABORTED");
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.append(&mut part.attempts);
        let queued = self.queued.max(part.queued);
        let retries = self.retries + part.retries;
        let shown = self.shown.take();
        let mut spent = self.spent;
        spent.add(part.spent);
        *self = Self {
            started: self.started,
            ended: None,
            attempts,
            retries,
            queued,
            spent,
            shown,
            hold: Own(None),
            ..part
        };
        self.show();
    }
}

//! Who of a line went before whom. A line's own places come to it as one of many lines: where it is given one for whoever is due first, the
//! urgent of others may have gone in between, and those of its own not. A step shows who was served in it, and not in which order: so the law is held against sums.

use trunkline::pool::Priority;

use super::books::{Key, Model, Rank, Verdict, Waiter};

/// So many of a line go in a row before whoever is due first.
const IN_A_ROW: usize = 3;

/// Others of its line that ended while one waited. Of those that make up for others, any that ended count: they may have been asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Due before it; and served though they were due after it.
    due: usize,
    not_due: usize,
    /// As urgent as it or more so, in any line; and served though they were less urgent.
    urgent: usize,
    less_urgent: usize,
}

/// One that waits no longer.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    key: Key,
    priority: Priority,
    rank: Rank,
    fresh: bool,
    /// It came in this step.
    is_new: bool,
    /// A place of the line was its own, or the failure of one.
    pub was_served: bool,
}

impl Waiter {
    pub fn ended(&self, step: u64, was_served: bool) -> Ended {
        let Self { key, priority, rank, fresh, .. } = *self;
        Ended { key, priority, rank, fresh, is_new: self.step == step, was_served }
    }
}

impl Model {
    /// Those who ended in this step, beside those who still wait.
    pub fn they_went_in_order(&mut self, ended: &[Ended]) -> Verdict {
        for one in ended {
            for waiter in &mut self.waiters {
                if waiter.key != one.key {
                    waiter.passed.urgent += usize::from(one.priority <= waiter.priority);
                    continue;
                }
                // Somebody who found a resting socket passes those who want a fresh one.
                let may_pass = one.is_new && !one.fresh && waiter.fresh;
                // Who came in this step may have come after.
                let passed_it = one.was_served && waiter.step < self.step && !may_pass;
                let (is_due, is_urgent) = (one.rank < waiter.rank, one.priority <= waiter.priority);
                if passed_it && !is_due && (one.priority >= waiter.priority) {
                    return Err(format!("{one:?} was served before {:?} {:?}", waiter.priority, waiter.rank));
                }
                waiter.passed.due += usize::from(is_due);
                waiter.passed.not_due += usize::from(!is_due && passed_it);
                waiter.passed.urgent += usize::from(is_urgent);
                waiter.passed.less_urgent += usize::from(!is_urgent && passed_it);
            }
        }
        for waiter in &self.waiters {
            let Passed { due, not_due, urgent, less_urgent } = waiter.passed;
            let warmers = self.warmers.get(&waiter.key).copied().unwrap_or_default();
            // One of so many goes to whoever is due first, and until this one has gone that is not due after it.
            if not_due > IN_A_ROW * (due + warmers + 1) {
                return Err(format!("{:?} starves at {:?}", waiter.key, waiter.passed));
            }
            // A less urgent one goes after so many in a row that are not; the first may have let others go before.
            if less_urgent.saturating_sub(1) * IN_A_ROW > urgent + IN_A_ROW * warmers {
                return Err(format!("{:?} waits for the less urgent at {:?}", waiter.key, waiter.passed));
            }
        }
        Ok(())
    }
}

//! How much went lately.

use tokio::time::Instant;

use super::SPAN;
use super::terms::Amounts;

/// What was used lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    now: Amounts,
    before: Amounts,
}

impl Pace {
    pub(super) fn add(&mut self, amounts: &Amounts, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= SPAN {
            self.before = if passed < SPAN * 2 { self.now } else { [0.0; 3] };
            (self.now, self.since) = ([0.0; 3], Some(now));
        }
        self.now.iter_mut().zip(amounts).for_each(|(sum, amount)| *sum += amount);
    }

    pub(super) fn recent(&self, now: Instant) -> Amounts {
        let passed = self.since.map_or(SPAN * 2, |since| now.saturating_duration_since(since));
        if passed >= SPAN * 2 {
            return [0.0; 3];
        }
        std::array::from_fn(|of| self.now[of].max(self.before[of]))
    }
}

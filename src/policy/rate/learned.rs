//! A limit as the provider's answers tell of it.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use crate::policy::learn::Sample;

/// A limit that no answer has confirmed for so long holds no more.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// But the first calls after that are asked first whether it does: so long it holds once more.
const PROBED: Duration = Duration::from_secs(10);
/// Of the provider's rate: ours must not run ahead of it.
const SPEED: f64 = 0.98;
/// A sample is replaced by one that is less exact after so long.
const SAMPLE_KEPT: Duration = Duration::from_secs(10);
/// The largest reserve, of the limit, and by how much each answer that says next to nothing is left makes it larger.
const RESERVE: f64 = 0.2;
const RESERVE_STEP: f64 = 2.0;
/// Lows kept; see the bucket's peaks.
const LOWS: usize = 16;

/// A provider's limit is a token bucket that holds `limit` and is full again after `reset` (OpenAI and Anthropic both
/// say so), so its rate is (limit − remaining) / reset. Ours stays below it: 98 % of the rate, and of the capacity two
/// calls less or 2 %, for the provider's bucket runs over while calls are on their way to it, which ours does not see.
///
/// **Level.** What an answer says is old: it was so when the provider took that call in, before or after others that were
/// sent later. So it is held against the lowest that ours had since the call was sent, and the difference goes into the
/// level of now: down always, since others may use the same limit, and up only where the call was alone from its start to
/// its answer: the last answer is not that of the call which arrived last.
///
/// An answer that says that less than the margin is left makes a reserve larger, up to a fifth of the limit: it is left to
/// the provider once, and costs no rate. Where others use the limit too, this is what room is made with.
///
/// **Rate.** The most exact sample counts, which is as a rule the one of the emptiest bucket: it is out by one of what was
/// used and by one grain of the reset. Of samples about as exact the lowest counts, since all are rounded up by
/// whoever rounds `remaining` and `reset` down. A reset of 0 ms is one below its grain, as with thousands of calls a second: it
/// says how low the rate cannot be, which is better than none until an exact one comes.
#[derive(Clone, Debug)]
pub(super) struct LearnedLimit {
    bucket: Bucket,
    limit: f64,
    rate: Rate,
    /// The sum of all corrections of the level.
    corrected: f64,
    /// What is left to the provider besides the margin, as it was seen to run out.
    reserve: f64,
    /// Counted up where marks of before mean nothing more.
    generation: u32,
    expires: Instant,
    is_probed: bool,
    /// The lowest levels since, less the corrections until then: each is below all that came after it, in order of time.
    lows: [(Instant, f64); LOWS],
    len: usize,
}

/// Which limit a call was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u32);

/// What is known of the calls whose answers say nothing yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    /// What they cost by this limit.
    pub(super) cost: f64,
    /// The call that was answered was the only one from its start to its answer.
    pub(super) is_alone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    /// How far it may be out, as a share of it. Infinite where it is only known to be no lower.
    error: f64,
    at: Instant,
}

impl LearnedLimit {
    /// None where the sample has no rate.
    pub(super) fn new(sample: &Sample, outstanding: Outstanding, now: Instant) -> Option<Self> {
        let rate = Rate::of(sample, now)?;
        let mut bucket = Bucket::new(capacity(sample.limit), rate.per_second * SPEED, now);
        bucket.set((left(sample) - outstanding.cost).max(0.0), now);
        let expires = now + KEPT;
        Some(Self {
            bucket,
            limit: sample.limit,
            rate,
            corrected: 0.0,
            reserve: 0.0,
            generation: 0,
            expires,
            is_probed: false,
            lows: [(now, 0.0); LOWS],
            len: 0,
        })
    }

    /// `sent` is the mark and the time of the call that was answered, where it has one.
    pub(super) fn confirm(
        &mut self,
        sample: &Sample,
        sent: Option<(Mark, Instant)>,
        outstanding: Outstanding,
        now: Instant,
    ) {
        let rate = Rate::of(sample, now);
        let level = self.bucket.level(now);
        let is_other = sample.limit != self.limit;
        if is_other {
            // Another limit: what was known of the rate goes with it, as do the marks.
            let Some(rate) = rate else { return };
            (self.limit, self.rate) = (sample.limit, rate);
            self.generation = self.generation.wrapping_add(1);
            (self.len, self.reserve) = (0, 0.0);
        } else if let Some(rate) = rate {
            self.rate.improve(rate);
        }
        if sample.remaining < margin(self.limit) {
            self.reserve = (self.reserve + RESERVE_STEP).min(self.limit * RESERVE);
        }
        let left = left(sample) - self.reserve;
        self.bucket.resize(capacity(self.limit), self.rate.per_second * SPEED, now);
        let sent = sent.filter(|(mark, _)| *mark == Mark(self.generation));
        let mut corrected = match sent.and_then(|(_, sent)| self.lowest_since(sent)) {
            Some(low) => level + (left - (low + self.corrected)).min(0.0),
            None => level.min(left),
        };
        if outstanding.is_alone {
            corrected = corrected.max(left);
        }
        self.correct(corrected, now);
        self.expires = now + KEPT;
        self.is_probed = false;
    }

    /// The provider refused a call and does not say why: nothing is left.
    pub(super) fn empty(&mut self, now: Instant) {
        self.correct(self.bucket.level(now).min(0.0), now);
    }

    pub(super) fn ready_at(&self, cost: f64) -> Instant {
        self.bucket.ready_at(self.clamp(cost)).min(self.expires)
    }

    pub(super) fn take(&mut self, cost: f64, now: Instant) -> Mark {
        let level = self.bucket.take(self.clamp(cost), now) - self.corrected;
        while self.len > 0 && self.lows[self.len - 1].1 >= level {
            self.len -= 1;
        }
        if self.len == LOWS {
            // The two oldest become one: as low as the first, and as late as the second.
            self.lows[1].1 = self.lows[0].1;
            self.lows.copy_within(1.., 0);
            self.len -= 1;
        }
        self.lows[self.len] = (now, level);
        self.len += 1;
        Mark(self.generation)
    }

    /// The first that is late enough is the lowest.
    fn lowest_since(&self, sent: Instant) -> Option<f64> {
        self.lows[..self.len].iter().find(|(at, _)| *at >= sent).map(|(_, level)| *level)
    }

    /// A call that cost `cost` when it was taken at `taken` used `used`: the difference is given back, or charged.
    pub(super) fn amend(&mut self, cost: f64, used: f64, mark: Option<Mark>, taken: Instant, now: Instant) {
        if mark != Some(Mark(self.generation)) {
            return;
        }
        let unused = self.clamp(cost) - self.clamp(used);
        if unused > 0.0 {
            self.bucket.give_back(unused, taken, now);
        } else if unused < 0.0 {
            self.bucket.take(-unused, now);
        }
    }

    /// Whether it still holds at a call. The first call after it expired asks for one more answer.
    pub(super) fn holds(&mut self, now: Instant) -> bool {
        if now < self.expires {
            return true;
        }
        let was_probed = std::mem::replace(&mut self.is_probed, true);
        self.expires = now + PROBED;
        !was_probed
    }

    /// What the provider has left by our count, what is kept from calls included, and when that is all. None where it holds no more.
    pub(super) fn left(&self, now: Instant) -> Option<(f64, Instant)> {
        let left = (self.bucket.level(now) + margin(self.limit)).min(self.limit);
        (now < self.expires).then(|| (left, self.bucket.full_at().min(self.expires)))
    }

    /// A call above the limit is refused without being counted, and must not hold up those after it.
    fn clamp(&self, cost: f64) -> f64 {
        cost.min(self.bucket.capacity)
    }

    fn correct(&mut self, level: f64, now: Instant) {
        let before = self.bucket.level(now);
        self.bucket.set(level.max(-self.limit), now);
        self.corrected += self.bucket.level(now) - before;
    }
}

impl Rate {
    fn of(sample: &Sample, now: Instant) -> Option<Self> {
        let used = sample.limit - sample.remaining;
        let reset = sample.reset?;
        if used <= 0.0 {
            return None;
        }
        let grain = reset.grain.as_secs_f64();
        let (used, seconds, error) = match reset.after.as_secs_f64() {
            // The call itself was used, and of the others one may be back in part. By whole seconds this would be no rate.
            0.0 if grain < 1.0 => ((used - 1.0).max(1.0), grain, f64::INFINITY),
            0.0 => return None,
            seconds => (used, seconds, 1.0 / used + grain / seconds),
        };
        // Beyond these nothing is a rate of calls or tokens.
        Some(Self { per_second: (used / seconds).clamp(1e-6, 1e12), error, at: now })
    }

    fn improve(&mut self, other: Self) {
        let is_old = other.at.saturating_duration_since(self.at) >= SAMPLE_KEPT;
        if other.error.is_infinite() {
            if (is_old || self.error.is_infinite()) && other.per_second > self.per_second {
                *self = other;
            }
        } else if is_old || other.error < self.error * 0.75 {
            *self = other;
        } else if other.error <= self.error * 1.5 {
            self.per_second = self.per_second.min(other.per_second);
        }
    }
}

fn capacity(limit: f64) -> f64 {
    limit - margin(limit)
}

fn left(sample: &Sample) -> f64 {
    sample.remaining - margin(sample.limit)
}

/// Two, or 2 %; a quarter at most.
fn margin(limit: f64) -> f64 {
    (limit * 0.02).max(2.0).min(limit * 0.25)
}

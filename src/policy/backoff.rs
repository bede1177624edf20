//! How long to wait before the next try.

use std::time::Duration;

/// How the delay grows from try to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// base × 2ⁿ.
    Exponential,
    /// base × (n + 1).
    Linear,
    /// No delay.
    Immediate,
}

/// Delays with full jitter: a delay is drawn evenly from zero to the step's bound, so that calls which failed
/// together do not come back together (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub strategy: Strategy,
    pub base: Duration,
    pub max: Duration,
}

impl Backoff {
    /// The bound of the delay before retry `n`, from 0.
    pub fn bound(&self, n: u32) -> Duration {
        let bound = match self.strategy {
            Strategy::Exponential => {
                2_u32.checked_pow(n).map_or(self.max, |factor| self.base.saturating_mul(factor))
            }
            Strategy::Linear => self.base.saturating_mul(n.saturating_add(1)),
            Strategy::Immediate => Duration::ZERO,
        };
        bound.min(self.max)
    }

    /// The delay before retry `n`, from 0.
    pub fn delay(&self, n: u32) -> Duration {
        self.bound(n).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_no_further() {
        let backoff =
            |strategy| Backoff { strategy, base: Duration::from_millis(500), max: Duration::from_secs(8) };
        let bounds = |strategy| (0..6).map(|n| backoff(strategy).bound(n).as_millis()).collect::<Vec<_>>();
        assert_eq!(bounds(Strategy::Exponential), [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(bounds(Strategy::Linear), [500, 1000, 1500, 2000, 2500, 3000]);
        assert_eq!(bounds(Strategy::Immediate), [0; 6]);
        assert_eq!(backoff(Strategy::Exponential).bound(u32::MAX), Duration::from_secs(8));
    }

    #[test]
    fn a_delay_lies_anywhere_below_its_bound() {
        let backoff =
            Backoff { strategy: Strategy::Linear, base: Duration::from_secs(1), max: Duration::from_secs(1) };
        let delays: Vec<_> = (0..1000).map(|_| backoff.delay(0)).collect();
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
        let mean = delays.iter().sum::<Duration>() / 1000;
        assert!(mean > Duration::from_millis(400) && mean < Duration::from_millis(600), "{mean:?}");
    }
}

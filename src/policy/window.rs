//! Counts of the recent past: a fixed ring of buckets of time.

use std::time::Duration;

use tokio::time::Instant;

/// Two kinds of things, counted in `N` buckets of one length; the newest bucket is still filling.
///
/// All buckets together cover between `N - 1` and `N` lengths. A clock that goes back stands still here.
#[derive(Clone, Debug)]
pub(super) struct Window<const N: usize> {
    buckets: [[u32; 2]; N],
    newest: usize,
    /// When the newest bucket began.
    began: Instant,
    /// Nanoseconds of one bucket, at least 1.
    length: u64,
}

impl<const N: usize> Window<N> {
    /// `N` is at least 1.
    pub(super) fn new(bucket: Duration, now: Instant) -> Self {
        const { assert!(N > 0) };
        Self { buckets: [[0; 2]; N], newest: 0, began: now, length: nanos(bucket).max(1) }
    }

    pub(super) fn add(&mut self, kind: usize, now: Instant) {
        self.advance(now);
        if let Some(count) = self.buckets[self.newest].get_mut(kind) {
            *count = count.saturating_add(1);
        }
    }

    /// How many of each kind the newest `buckets` hold.
    pub(super) fn sums(&mut self, buckets: usize, now: Instant) -> [u64; 2] {
        self.advance(now);
        let mut sums = [0; 2];
        for back in 0..buckets.min(N) {
            let counts = self.buckets[(self.newest + N - back) % N];
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += u64::from(count);
            }
        }
        sums
    }

    pub(super) fn clear(&mut self) {
        self.buckets = [[0; 2]; N];
    }

    fn advance(&mut self, now: Instant) {
        let passed = nanos(now.saturating_duration_since(self.began));
        if passed < self.length {
            return;
        }
        let buckets = passed / self.length;
        for _ in 0..buckets.min(N as u64) {
            self.newest = (self.newest + 1) % N;
            self.buckets[self.newest] = [0; 2];
        }
        self.began = now.checked_sub(Duration::from_nanos(passed % self.length)).unwrap_or(now);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_nothing_else() {
        let start = Instant::now();
        let mut window = Window::<3>::new(SECOND, start);
        for second in 0..5 {
            window.add(second % 2, start + SECOND * second as u32);
        }
        assert_eq!(window.sums(3, start + SECOND * 4), [2, 1]);
        assert_eq!(window.sums(2, start + SECOND * 4), [1, 1]);
        assert_eq!(window.sums(9, start + SECOND * 5), [1, 1]);
        assert_eq!(window.sums(3, start + SECOND * 7), [0, 0]);
    }

    #[test]
    fn a_bucket_ends_where_the_one_before_it_said() {
        let start = Instant::now();
        let mut window = Window::<2>::new(SECOND, start);
        window.add(0, start + SECOND.mul_f64(3.9));
        assert_eq!(window.sums(2, start + SECOND.mul_f64(4.9)), [1, 0]);
        assert_eq!(window.sums(2, start + SECOND.mul_f64(5.0)), [0, 0]);
    }

    #[test]
    fn a_clock_that_goes_back_or_leaps_breaks_nothing() {
        let start = Instant::now() + SECOND * 3600;
        let mut window = Window::<2>::new(Duration::ZERO, start);
        window.add(0, start);
        assert_eq!(window.sums(2, start - SECOND * 60), [1, 0]);
        assert_eq!(window.sums(2, start + SECOND * 3_000_000_000), [0, 0]);
        window.add(7, start);
        assert_eq!(window.sums(2, start), [0, 0]);
    }
}

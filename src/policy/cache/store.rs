//! The answers that are kept, bounded in bytes: what was not asked for the longest goes first. moka forgets what is out of date when it is next
//! used; whether an answer may still be given is looked at here, by tokio's clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{self, Duration};

use moka::Expiry;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::{Control, Key};

/// One answer may take this part of all there is: it would push out too many others.
const LARGEST_PART: u64 = 4;

/// What an answer takes beside its own bytes: its key, and what moka has for each.
const OVERHEAD: u64 = 512;

/// See the module.
pub struct Store<T> {
    kept: Cache<Key, Arc<Kept<T>>>,
    most: u64,
    evicted: Arc<AtomicU64>,
    expired: Arc<AtomicU64>,
}

struct Kept<T> {
    value: Arc<T>,
    since: Instant,
    ttl: Duration,
    weight: u32,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    pub entries: u64,
    pub bytes: u64,
    /// To make room for others.
    pub evicted: u64,
    /// Since their time was over.
    pub expired: u64,
}

/// Each answer has a time of its own.
struct ByEntry;

impl<T> Expiry<Key, Arc<Kept<T>>> for ByEntry {
    fn expire_after_create(&self, _: &Key, kept: &Arc<Kept<T>>, _: time::Instant) -> Option<Duration> {
        Some(kept.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        kept: &Arc<Kept<T>>,
        _: time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(kept.ttl)
    }
}

impl<T: Send + Sync + 'static> Store<T> {
    /// A store of at most `most` bytes.
    pub fn new(most: u64) -> Self {
        let (evicted, expired) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (evictions, expiries) = (evicted.clone(), expired.clone());
        let kept = Cache::builder()
            .max_capacity(most)
            .weigher(|_, kept: &Arc<Kept<T>>| kept.weight)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByEntry)
            .eviction_listener(move |_, _, cause| {
                let counter = match cause {
                    RemovalCause::Size => &evictions,
                    RemovalCause::Expired => &expiries,
                    RemovalCause::Explicit | RemovalCause::Replaced => return,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            })
            .build();
        Self { kept, most, evicted, expired }
    }

    /// What is kept, with its age; None where nothing is that the caller takes.
    pub fn get(&self, key: &Key, control: &Control) -> Option<(Arc<T>, Duration)> {
        let kept = self.kept.get(key)?;
        let age = kept.since.elapsed();
        // At the end of its time it is gone.
        let left = kept.ttl.checked_sub(age).filter(|left| !left.is_zero())?;
        control.takes(age, left).then(|| (kept.value.clone(), age))
    }

    /// Keeps a value of so many bytes, in place of an older one. False where it is too large.
    pub fn put(&self, key: Key, value: T, bytes: usize, ttl: Duration) -> bool {
        self.put_aged(key, value, bytes, (ttl, Duration::ZERO))
    }

    /// The same for one that is of some age already.
    pub fn put_aged(&self, key: Key, value: T, bytes: usize, (ttl, age): (Duration, Duration)) -> bool {
        let weight = (bytes as u64).saturating_add(OVERHEAD);
        let Ok(weight) = u32::try_from(weight) else { return false };
        if u64::from(weight) > self.most / LARGEST_PART {
            return false;
        }
        let now = Instant::now();
        let since = now.checked_sub(age).unwrap_or(now);
        let kept = Kept { value: Arc::new(value), since, ttl, weight };
        self.kept.insert(key, Arc::new(kept));
        // Or it would be done some time later, and there would be more than there may be until then.
        self.kept.run_pending_tasks();
        true
    }

    pub fn figures(&self) -> StoreFigures {
        self.kept.run_pending_tasks();
        StoreFigures {
            entries: self.kept.entry_count(),
            bytes: self.kept.weighted_size(),
            evicted: self.evicted.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
        }
    }
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cache::Digest;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(n: usize) -> Key {
        let mut digest = Digest::new("test");
        digest.part(&n.to_le_bytes());
        digest.finish()
    }

    fn get(store: &Store<usize>, n: usize) -> Option<usize> {
        store.get(&key(n), &Control::default()).map(|(value, _)| *value)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_until_its_time_is_over_and_not_at_its_end() {
        let store = Store::new(1 << 20);
        assert!(store.put(key(1), 1, 10, HOUR));
        tokio::time::advance(HOUR - Duration::from_millis(1)).await;
        assert_eq!(get(&store, 1), Some(1));
        let young = Control { max_age: Some(Duration::from_secs(60)), ..Control::default() };
        assert!(store.get(&key(1), &young).is_none(), "older than its caller takes");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(get(&store, 1), None);
        assert!(store.put(key(1), 2, 10, HOUR));
        assert_eq!(get(&store, 1), Some(2), "its time begins anew");
    }

    #[test]
    fn there_are_never_more_bytes_than_may_be_and_what_was_not_asked_for_the_longest_goes_first() {
        let most = 100 * (OVERHEAD + 1_000);
        let store = Store::new(most);
        for n in 0..10_000 {
            assert!(store.put(key(n), n, 1_000, HOUR));
            assert!(store.figures().bytes <= most, "{n}");
            assert_eq!(get(&store, n), Some(n), "the newest is there");
            assert_eq!(get(&store, 0), Some(0), "what is asked for stays");
        }
        let figures = store.figures();
        assert_eq!((figures.entries, figures.bytes, figures.evicted), (100, most, 9_900));
        assert_eq!(get(&store, 5), None);
    }

    #[test]
    fn what_takes_more_than_its_part_is_not_kept() {
        let store = Store::new(4 * (OVERHEAD + 100));
        assert!(store.put(key(1), 1, 100, HOUR));
        assert!(!store.put(key(2), 2, 101, HOUR));
        assert!(!store.put(key(2), 2, usize::MAX, HOUR));
        assert_eq!((get(&store, 1), get(&store, 2)), (Some(1), None));
    }
}

//! One pool in the process for equal settings, whichever client and thread asks.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::pool::{Config, Pool, Tasks};

static POOLS: LazyLock<Mutex<HashMap<Config, Entry>>> = LazyLock::new(Mutex::default);

static NUMBERS: AtomicU32 = AtomicU32::new(0);

struct Entry {
    pool: Pool,
    number: u32,
    clients: usize,
}

/// A client's share of a pool; given back once, by [`SharedPool::release`] or on drop.
#[derive(Debug)]
pub(super) struct SharedPool {
    pool: Pool,
    number: u32,
    released: AtomicBool,
}

impl SharedPool {
    pub(super) fn of(config: &Config, tasks: &Tasks) -> Self {
        let mut pools = POOLS.lock();
        let entry = pools.entry(config.clone()).or_insert_with(|| Entry {
            pool: Pool::new(config.clone(), tasks.clone()),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed) + 1,
            clients: 0,
        });
        entry.clients += 1;
        Self { pool: entry.pool.clone(), number: entry.number, released: AtomicBool::new(false) }
    }

    /// Which of the process's it is: from 1 on, and never again another's.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether no other client has a share, as of now.
    pub(super) fn is_last(&self) -> bool {
        !self.released.load(Ordering::Relaxed)
            && POOLS.lock().get(self.pool.config()).is_some_and(|entry| entry.clients == 1)
    }

    /// Gives the share back. The pool, if this was the last share.
    pub(super) fn release(&self) -> Option<&Pool> {
        if self.released.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut pools = POOLS.lock();
        let entry = pools.get_mut(self.pool.config())?;
        entry.clients -= 1;
        if entry.clients > 0 {
            return None;
        }
        pools.remove(self.pool.config());
        Some(&self.pool)
    }
}

impl Deref for SharedPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl Drop for SharedPool {
    fn drop(&mut self) {
        if let Some(pool) = self.release() {
            pool.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn equal_settings_share_a_pool_and_the_last_share_ends_it() {
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        // Settings that no other test has.
        let config = Config { idle_timeout: Duration::from_millis(1_234_567), ..Config::default() };
        let first = SharedPool::of(&config, &tasks);
        let second = SharedPool::of(&config, &tasks);
        let other = SharedPool::of(&Config { max_idle_connections: 1, ..config.clone() }, &tasks);
        assert_eq!(POOLS.lock()[&config].clients, 2);
        assert!(!first.is_last());
        assert!(first.release().is_none());
        assert!(first.release().is_none(), "a share is given back once");
        assert!(!first.is_last() && second.is_last());
        drop(first);
        assert!(second.release().is_some());
        assert!(!POOLS.lock().contains_key(&config));
        drop(other);
    }
}

//! Where the state of budgets is. Here that is memory, with a file behind it where the options name one, or Redis where machines share it: then
//! memory is what was last heard, and what counts while Redis is away.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::state::StateFile;
use crate::client::shared::{Shared, Till};
use crate::error::Error;
use crate::policy::money::{
    Amount, BudgetPolicy, Crossed, Exceeded, Limits, Numbers, Purse, Scope, Standing, Unit,
};

#[derive(Debug, Default)]
pub(super) struct Store {
    purse: Arc<Mutex<Purse>>,
    /// None where there is none, or no longer.
    file: RwLock<Option<StateFile>>,
    /// Where it is shared with other processes.
    till: Option<Arc<Till>>,
    /// What was wrong with it, once it is let go.
    told: OnceLock<String>,
    /// Clients that are not closed.
    users: AtomicUsize,
    freed: Notify,
}

/// A client's share of a store; given back once, by [`Share::close`] or on drop. The last one lets go of the file, as soon as nothing is spoken for
/// in it: what the calls that closing ended come to is in it then. What comes later, of a call for which nothing was spoken, is known in memory only.
#[derive(Debug)]
pub(super) struct Share {
    store: Arc<Store>,
    released: AtomicBool,
}

/// For calls that were ended to be gone.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Clients of one process that name the same file share what was spent.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Store>>>> = LazyLock::new(Mutex::default);

impl Share {
    /// Of a store in memory.
    pub(super) fn in_memory() -> Self {
        Self::of(Arc::default())
    }

    /// Of the store behind which this file is.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or is another process's.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let path = std::path::absolute(path).map_err(|error| unusable(path, &error.to_string()))?;
        let mut open = OPEN.lock();
        if let Some(store) = open.get(&path).and_then(Weak::upgrade).filter(|store| store.has_file()) {
            return Ok(Self::of(store));
        }
        let (file, purse) =
            StateFile::open(&path, SystemTime::now()).map_err(|what| unusable(&path, &what))?;
        let file = RwLock::new(Some(file));
        let store = Arc::new(Store { purse: Arc::new(Mutex::new(purse)), file, ..Store::default() });
        open.retain(|_, store| store.strong_count() > 0);
        open.insert(path, Arc::downgrade(&store));
        Ok(Self::of(store))
    }

    /// Of the store that other processes share, through Redis.
    pub(super) fn with_others(
        shared: &Shared,
        policy: &BudgetPolicy,
        tell: Box<dyn Fn(Vec<Crossed>) + Send + Sync>,
    ) -> Self {
        let purse = Arc::<Mutex<Purse>>::default();
        let till = shared.till(policy, &purse, tell);
        Self::of(Arc::new(Store { purse, till: Some(till), ..Store::default() }))
    }

    fn of(store: Arc<Store>) -> Self {
        store.users.fetch_add(1, Ordering::Relaxed);
        Self { store, released: AtomicBool::new(false) }
    }

    /// Gives it back. If it is the last, resolves when the file is let go; calls that will not end keep it.
    pub(super) async fn close(&self) {
        let freed = self.store.freed.notified();
        self.give_back();
        if self.store.is_unused() && self.store.has_file() {
            let _ = tokio::time::timeout(LAST_CALLS, freed).await;
        }
    }

    /// As [`Self::close`], and nobody waits for it.
    pub(super) fn give_back(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            self.store.users.fetch_sub(1, Ordering::Relaxed);
            self.store.free();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Deref for Share {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Store {
    fn has_file(&self) -> bool {
        self.file.read().is_some()
    }

    fn is_unused(&self) -> bool {
        self.users.load(Ordering::Relaxed) == 0
    }

    /// Lets go of the file, if no client is left and nothing is spoken for. No other client comes meanwhile.
    fn free(&self) {
        let _open = OPEN.lock();
        if !self.is_unused() {
            return;
        }
        let mut file = self.file.write();
        if let Some(ended) = file.take_if(|file| file.is_quiet()) {
            if let Some(problem) = ended.problem() {
                let _ = self.told.set(problem);
            }
            drop(ended);
            drop(file);
            self.freed.notify_waiters();
        }
    }

    /// Asks those who share it, where anybody does and they can be asked: then [`Self::reserve`] goes by what they said.
    pub(super) async fn ask(&self, limits: &Limits, ask: Amount) -> Option<bool> {
        self.till.as_ref()?.reserve(limits, ask).await
    }

    /// Why they said no.
    pub(super) fn refusal(
        &self,
        policy: &BudgetPolicy,
        limits: &mut Limits,
        ask: Amount,
        now: SystemTime,
    ) -> Box<Exceeded> {
        let now = Numbers::at(now);
        let mut purse = self.purse.lock();
        purse.reserve(policy, limits, ask, now).map_or_else(
            |exceeded| exceeded,
            |()| {
                // It has changed since.
                purse.release(limits, ask);
                let standing = policy.standing(&purse, &Scope::All, Unit::Usd, now);
                Box::new(Exceeded { standing, may_pass_soon: true, is_first: false })
            },
        )
    }

    /// Speaks for an amount; gives the number by which it is given back.
    pub(super) fn reserve(
        &self,
        policy: &BudgetPolicy,
        limits: &mut Limits,
        ask: Amount,
        now: SystemTime,
    ) -> Result<u64, Box<Exceeded>> {
        self.purse.lock().reserve(policy, limits, ask, Numbers::at(now))?;
        if let Some(till) = &self.till {
            till.hold(limits, ask);
        }
        // Written before anything is sent, and not under the lock of the purse.
        Ok(self.file.read().as_ref().map_or(0, |file| file.held(limits, ask, now)))
    }

    pub(super) fn release(&self, id: u64, limits: &Limits, ask: Amount) {
        self.purse.lock().release(limits, ask);
        if let Some(till) = &self.till {
            till.release(limits, ask);
        }
        if let Some(file) = &*self.file.read() {
            file.done(id);
        }
        if self.is_unused() {
            self.free();
        }
    }

    pub(super) fn charge(
        &self,
        policy: &BudgetPolicy,
        limits: &Limits,
        amount: Amount,
        now: SystemTime,
    ) -> Vec<Crossed> {
        let mut crossed = self.purse.lock().charge(policy, limits, amount, Numbers::at(now));
        if self.till.as_ref().is_some_and(|till| till.owe(limits, amount)) {
            // Whoever counts for all says it to one of them.
            crossed.clear();
        }
        if let Some(file) = &*self.file.read() {
            file.paid(limits, amount, now);
        }
        crossed
    }

    pub(super) fn standings(&self, policy: &BudgetPolicy, now: SystemTime) -> Vec<Standing> {
        self.purse.lock().standings(policy, Numbers::at(now))
    }

    pub(super) fn standing(
        &self,
        policy: &BudgetPolicy,
        scope: &Scope,
        unit: Unit,
        now: SystemTime,
    ) -> Standing {
        policy.standing(&self.purse.lock(), scope, unit, Numbers::at(now))
    }

    /// What is wrong with the file, or was.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.file.read().as_ref().and_then(StateFile::problem);
        problem.or_else(|| self.told.get().cloned())
    }
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::config(format!("budget.state: {} {what}", path.display()))
}

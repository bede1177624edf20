//! Where the state of budgets is. Here that is memory, with a file behind it where the options name one, or Redis where machines share it: then
//! memory is what was last heard, and what counts while Redis is away.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::state::StateFile;
use crate::client::shared::{Shared, Till};
use crate::error::Error;
use crate::policy::money::{
    Amount, BudgetPolicy, Crossed, Exceeded, Limits, Numbers, Purse, Scope, Standing, Unit,
};

#[derive(Debug, Default)]
pub(super) struct Store {
    purse: Arc<Mutex<Purse>>,
    file: Option<StateFile>,
    /// Where it is shared with other processes.
    till: Option<Arc<Till>>,
}

/// Clients of one process that name the same file share what was spent.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Store>>>> = LazyLock::new(Mutex::default);

impl Store {
    /// The store behind which this file is.
    ///
    /// # Errors
    /// Where the file cannot be read or written, or is another process's.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, Error> {
        let path = std::path::absolute(path).map_err(|error| unusable(path, &error.to_string()))?;
        let mut open = OPEN.lock();
        if let Some(store) = open.get(&path).and_then(Weak::upgrade) {
            return Ok(store);
        }
        let (file, purse) =
            StateFile::open(&path, SystemTime::now()).map_err(|what| unusable(&path, &what))?;
        let store = Arc::new(Self { purse: Arc::new(Mutex::new(purse)), file: Some(file), till: None });
        open.retain(|_, store| store.strong_count() > 0);
        open.insert(path, Arc::downgrade(&store));
        Ok(store)
    }

    /// The store that others share, through Redis.
    pub(super) fn shared(
        shared: &Shared,
        policy: &BudgetPolicy,
        tell: Box<dyn Fn(Vec<Crossed>) + Send + Sync>,
    ) -> Arc<Self> {
        let purse = Arc::<Mutex<Purse>>::default();
        let till = shared.till(policy, &purse, tell);
        Arc::new(Self { purse, file: None, till: Some(till) })
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
        Ok(self.file.as_ref().map_or(0, |file| file.held(limits, ask, now)))
    }

    pub(super) fn release(&self, id: u64, limits: &Limits, ask: Amount) {
        self.purse.lock().release(limits, ask);
        if let Some(till) = &self.till {
            till.release(limits, ask);
        }
        if let Some(file) = &self.file {
            file.done(id);
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
        if let Some(file) = &self.file {
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
        self.file.as_ref().and_then(StateFile::problem)
    }
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::config(format!("budget.state: {} {what}", path.display()))
}

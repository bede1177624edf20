//! What several processes share through Redis: limits of rate, calls at once, budgets, circuits and answers.
//!
//! | file | idea |
//! |---|---|
//! | `bell` | wakes the lender when it is due |
//! | `lender` | asks the store for all gates of a client at once, and brings them what it lends |
//! | `store` | the connection to Redis, and scripts that run there |
//! | `link` | what a client shares, asked of it |
//! | `till` | budgets: what is spoken for, and spent |
//! | `board` | circuits: which are open |
//! | `lend.lua`, `spend.lua`, `board.lua` | what is done in Redis, in one piece and by its own clock |
//!
//! A call never speaks to Redis. It takes from what was lent, and where that is not enough it waits at its gate, in the order of
//! all who wait there; the lender is one task, with one question on its way at a time.

mod bell;
mod board;
mod lender;
mod link;
mod store;
mod till;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::watch;

pub(super) use self::bell::Bell;
use self::board::Board;
pub(super) use self::board::TellOfCircuit;
use self::link::Link;
pub(crate) use self::store::{Script, Store, told};
pub(super) use self::till::Till;
use super::gate::Gate;
use crate::config::{OnUnavailable, SharedConfig};
use crate::error::{Error, Kind};
use crate::policy::lease::{Lent, Standing, Terms};
use crate::policy::money::{BudgetPolicy, Crossed, Purse};
use crate::pool::Tasks;

/// What a client shares with other processes.
pub(super) struct Shared {
    config: SharedConfig,
    bell: Arc<Bell>,
    gates: Mutex<Vec<Shares>>,
    till: Mutex<Option<Arc<Till>>>,
    link: watch::Sender<Linked>,
    /// Where there are circuits.
    board: OnceLock<Arc<Board>>,
    state: Mutex<State>,
}

/// A gate whose limits are shared, and under which name.
#[derive(Clone)]
struct Shares {
    name: Arc<str>,
    gate: Weak<Gate>,
}

/// Whether Redis is there.
#[derive(Default)]
enum Linked {
    #[default]
    NotYet,
    To(Link),
    No,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    /// Why Redis cannot be asked.
    problem: Option<String>,
}

impl Shared {
    pub(super) fn open(config: &SharedConfig, tasks: &Tasks) -> Arc<Self> {
        let shared = Arc::new(Self {
            config: config.clone(),
            bell: Arc::default(),
            gates: Mutex::default(),
            till: Mutex::default(),
            link: watch::Sender::default(),
            board: OnceLock::new(),
            state: Mutex::new(State { standing: Standing::Shared, problem: None }),
        });
        lender::start(&shared, tasks);
        shared
    }

    /// Has a gate's limits kept together with those who have a gate of the same name.
    pub(super) fn share(&self, name: &str, gate: Gate, terms: Option<Terms>) -> Arc<Gate> {
        let Some(terms) = terms else { return Arc::new(gate) };
        let gate = Arc::new(gate.sharing(Lent::new(terms), &self.bell));
        let mut gates = self.gates.lock();
        gates.push(Shares { name: name.into(), gate: Arc::downgrade(&gate) });
        let standing = self.state.lock().standing;
        drop(gates);
        gate.stand(standing);
        gate
    }

    /// Has a budget kept together. A client has one.
    pub(super) fn till(
        &self,
        policy: &BudgetPolicy,
        purse: &Arc<Mutex<Purse>>,
        tell: Box<dyn Fn(Vec<Crossed>) + Send + Sync>,
    ) -> Arc<Till> {
        let till = Arc::new(Till::new(policy, purse, &self.bell, tell));
        *self.till.lock() = Some(till.clone());
        till.stand(self.state.lock().standing);
        till
    }

    /// # Errors
    /// Where nothing is to go because Redis cannot be asked.
    pub(super) fn check(&self) -> Result<(), Error> {
        match &*self.state.lock() {
            State { standing: Standing::Refused, problem } => Err(away(problem.as_deref())),
            _ => Ok(()),
        }
    }

    /// An answer that is kept together, and for how many milliseconds yet.
    pub(super) async fn recall(&self, name: &str) -> Option<(String, u64)> {
        let mut link = self.link().await?;
        link.recall(&self.config.key("answer", name)).await
    }

    /// Keeps one, if it can be.
    pub(super) async fn remember(&self, name: &str, text: &str, ttl: u64) {
        let Some(mut link) = self.link().await else { return };
        if let Err(problem) = link.remember(&self.config.key("answer", name), text, ttl).await {
            tracing::debug!(target: "trunkline::shared", problem, "an answer was not kept");
        }
    }

    /// To what is there, once it is known whether anything is.
    async fn link(&self) -> Option<Link> {
        let mut linked = self.link.subscribe();
        let known = linked.wait_for(|linked| !matches!(linked, Linked::NotYet)).await.ok()?;
        match &*known {
            Linked::To(link) => Some(link.clone()),
            Linked::NotYet | Linked::No => None,
        }
    }

    /// Why those who share cannot be asked now.
    pub(super) fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }

    /// Redis is there.
    fn is_there(&self, link: &Link) {
        self.link.send_replace(Linked::To(link.clone()));
        if self.state.lock().problem.take().is_some() {
            tracing::info!(target: "trunkline::shared", "Redis is there again");
        }
        self.stand(Standing::Shared);
    }

    /// Redis is not there.
    fn is_away(&self, problem: String) {
        self.link.send_replace(Linked::No);
        let standing = match self.config.on_unavailable {
            OnUnavailable::Local => Standing::Alone,
            OnUnavailable::Fail => Standing::Refused,
        };
        {
            let mut state = self.state.lock();
            if state.problem.as_ref() != Some(&problem) {
                tracing::error!(target: "trunkline::shared", problem, "Redis cannot be asked");
            }
            state.problem = Some(problem);
        }
        self.stand(standing);
    }

    fn stand(&self, standing: Standing) {
        // Gates that are shared later ask for it.
        let gates = self.gates.lock();
        if std::mem::replace(&mut self.state.lock().standing, standing) == standing {
            return;
        }
        let gates = gates.clone();
        if let Some(till) = &*self.till.lock() {
            till.stand(standing);
        }
        for gate in gates.iter().filter_map(|shares| shares.gate.upgrade()) {
            gate.stand(standing);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.bell.ring_now();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// For one that waited for what nobody lends any more.
pub(super) fn unavailable(shared: Option<&Shared>) -> Error {
    away(shared.and_then(Shared::problem).as_deref())
}

fn away(problem: Option<&str>) -> Error {
    let problem = problem.unwrap_or("it is not known why");
    let mut error =
        Error::new(Kind::Shared, format!("the limits are shared by Redis, which cannot be asked: {problem}"));
    error.retryable = true;
    error
}

//! Budgets that several processes share: what this one wants to speak for, what it has spoken for, and what it has spent and not yet told.
//!
//! What is spent is told in numbered messages, each until it is acknowledged: Redis enters a message once, however often it comes. What is
//! spoken for is told as it stands, so nothing of it adds up wrongly either. While Redis is away what is spent adds up here, one sum for each scope.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Bell;
use crate::policy::lease::Standing;
use crate::policy::money::{Amount, BudgetPolicy, Crossed, Limit, Limits, Purse, Scope, Usd};

/// Redis is told at least so often that what is spoken for still is.
const BEAT: Duration = Duration::from_secs(20);

type Sums = HashMap<Scope, Amount>;

/// See the module.
pub(in crate::client) struct Till {
    pub(super) policy: BudgetPolicy,
    /// As it is known here: this is what counts while Redis is away.
    purse: Arc<Mutex<Purse>>,
    bell: Arc<Bell>,
    state: Mutex<State>,
    tell: Box<dyn Fn(Vec<Crossed>) + Send + Sync>,
}

#[derive(Default)]
struct State {
    is_away: bool,
    asks: Vec<Asking>,
    /// Those of the work under way.
    asked: Vec<Asking>,
    held: Sums,
    /// Scopes of which Redis has heard something else.
    changed: HashMap<Scope, ()>,
    owed: Sums,
    /// What the last message tells, until it is acknowledged.
    told: Sums,
    message: u64,
    is_under_way: bool,
    last: Option<Instant>,
}

struct Asking {
    limits: Limits,
    amount: Amount,
    answer: oneshot::Sender<Option<Claim>>,
}

/// What was spoken for, on its way to whoever asked: given back if that one has gone.
struct Claim(Option<(Arc<Till>, Limits, Amount)>);

/// What Redis is to do.
#[derive(Debug, Serialize)]
pub(super) struct Work {
    window: &'static str,
    message: u64,
    scopes: Vec<Told>,
    asks: Vec<Asked>,
    #[serde(skip)]
    pub(super) of: Vec<Scope>,
}

#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    spent: Wire,
    held: Wire,
}

#[derive(Debug, Serialize)]
struct Asked {
    of: Vec<usize>,
    limits: Vec<WireLimit>,
    blocks: bool,
    #[serde(flatten)]
    amount: Wire,
}

/// As texts: they may be more than JSON's numbers are read as.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wire {
    usd: String,
    tokens: String,
}

#[derive(Debug, Serialize)]
struct WireLimit {
    usd: Option<String>,
    tokens: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Done {
    scopes: Vec<Stands>,
    asks: Answers,
}

/// Lua has one kind of table: an empty list comes as an empty object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answers {
    Some(Vec<bool>),
    None {},
}

#[derive(Debug, Deserialize)]
struct Stands {
    number: u32,
    before: Wire,
    spent: Wire,
    others: Wire,
}

impl Till {
    pub(super) fn new(
        policy: &BudgetPolicy,
        purse: &Arc<Mutex<Purse>>,
        bell: &Arc<Bell>,
        tell: Box<dyn Fn(Vec<Crossed>) + Send + Sync>,
    ) -> Self {
        Self {
            policy: policy.clone(),
            purse: purse.clone(),
            bell: bell.clone(),
            state: Mutex::default(),
            tell,
        }
    }

    /// Speaks for an amount with Redis. None where it cannot be asked.
    ///
    /// # Cancel safety
    /// What was spoken for meanwhile is given back.
    pub(in crate::client) async fn reserve(&self, limits: &Limits, amount: Amount) -> Option<bool> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.is_away {
                return None;
            }
            state.asks.push(Asking { limits: limits.clone(), amount, answer });
        }
        self.bell.ring(Instant::now());
        let claim = answered.await.ok()?;
        Some(claim.is_some_and(|mut claim| claim.0.take().is_some()))
    }

    /// The same here alone.
    pub(in crate::client) fn hold(&self, limits: &Limits, amount: Amount) {
        self.state.lock().hold(limits, amount);
        self.bell.ring(Instant::now());
    }

    pub(in crate::client) fn release(&self, limits: &Limits, amount: Amount) {
        {
            let mut state = self.state.lock();
            for scope in limits.scopes() {
                if let Some(held) = state.held.get_mut(scope) {
                    *held = held.minus(amount);
                }
                state.changed.insert(scope.clone(), ());
            }
        }
        self.bell.ring(Instant::now());
    }

    /// So much was spent. False where Redis cannot be told now, and this process is to tell of limits that are reached.
    pub(in crate::client) fn owe(&self, limits: &Limits, amount: Amount) -> bool {
        let is_away = {
            let mut state = self.state.lock();
            for scope in limits.scopes() {
                let owed = state.owed.entry(scope.clone()).or_default();
                *owed = owed.plus(amount);
            }
            state.is_away
        };
        self.bell.ring(Instant::now());
        !is_away
    }

    pub(super) fn stand(&self, standing: Standing) {
        let mut state = self.state.lock();
        state.is_away = standing != Standing::Shared;
        if state.is_away {
            // Who waits is told by the drop.
            state.asks.clear();
        }
    }

    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        if state.is_away || state.is_under_way {
            return None;
        }
        let has_work = !state.asks.is_empty()
            || !state.owed.is_empty()
            || !state.told.is_empty()
            || !state.changed.is_empty();
        if has_work {
            return Some(now);
        }
        state.held.values().any(|held| *held != Amount::default()).then(|| state.last.unwrap_or(now) + BEAT)
    }

    /// What to do now.
    pub(super) fn work(&self, now: Instant) -> Work {
        let state = &mut *self.state.lock();
        state.is_under_way = true;
        state.last = Some(now);
        if state.told.is_empty() {
            state.told = std::mem::take(&mut state.owed);
            state.message += 1;
        }
        state.asked.append(&mut state.asks);
        let mut of: Vec<Scope> = state.told.keys().chain(state.held.keys()).cloned().collect();
        of.extend(state.changed.drain().map(|(scope, ())| scope));
        of.extend(state.asked.iter().flat_map(|ask| ask.limits.scopes().cloned()));
        of.sort();
        of.dedup();
        let index = |scope: &Scope| of.binary_search(scope).map_or(0, |at| at + 1);
        let scopes = of.iter().map(|scope| Told {
            spent: Wire::of(state.told.get(scope).copied().unwrap_or_default()),
            held: Wire::of(state.held.get(scope).copied().unwrap_or_default()),
        });
        let asks = state.asked.iter().map(|ask| Asked {
            of: ask.limits.scopes().map(index).collect(),
            limits: ask.limits.scopes().map(|scope| WireLimit::of(self.policy.limit(scope))).collect(),
            blocks: self.policy.blocks,
            amount: Wire::of(ask.amount),
        });
        let (scopes, asks) = (scopes.collect(), asks.collect());
        // What is held no longer need not be told again.
        state.held.retain(|_, held| *held != Amount::default());
        Work { window: self.policy.window.as_str(), message: state.message, scopes, asks, of }
    }

    /// It is done.
    pub(super) fn done(self: &Arc<Self>, work: &Work, done: &Done) {
        let mut crossed = Vec::new();
        let answers = {
            let state = &mut *self.state.lock();
            state.is_under_way = false;
            state.told.clear();
            let asked = std::mem::take(&mut state.asked);
            let fits = match &done.asks {
                Answers::Some(fits) => &fits[..],
                Answers::None {} => &[],
            };
            let mut purse = self.purse.lock();
            let mut answers = Vec::new();
            for (ask, fits) in asked.into_iter().zip(fits.iter().copied()) {
                if fits {
                    state.hold(&ask.limits, ask.amount);
                }
                answers.push((ask, fits));
            }
            for (scope, stands) in work.of.iter().zip(&done.scopes) {
                let owed = state.owed.get(scope).copied().unwrap_or_default();
                let held = state.held.get(scope).copied().unwrap_or_default();
                let [before, spent, others] =
                    [&stands.before, &stands.spent, &stands.others].map(Wire::amount);
                let spent = (before.plus(owed), spent.plus(owed));
                crossed.extend(purse.adopt(&self.policy, scope, stands.number, spent, others.plus(held)));
            }
            answers
        };
        (self.tell)(crossed);
        for (Asking { limits, amount, answer }, fits) in answers {
            drop(answer.send(fits.then(|| Claim(Some((self.clone(), limits, amount))))));
        }
    }

    /// Nobody knows whether it is done.
    pub(super) fn undone(&self) {
        let mut state = self.state.lock();
        state.is_under_way = false;
        let asked = std::mem::take(&mut state.asked);
        // What Redis may believe to be spoken for is told as it stands.
        for ask in &asked {
            state.changed.extend(ask.limits.scopes().map(|scope| (scope.clone(), ())));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((till, limits, amount)) = self.0.take() {
            till.purse.lock().release(&limits, amount);
            till.release(&limits, amount);
        }
    }
}

impl State {
    fn hold(&mut self, limits: &Limits, amount: Amount) {
        for scope in limits.scopes() {
            let held = self.held.entry(scope.clone()).or_default();
            *held = held.plus(amount);
        }
    }
}

impl Wire {
    fn of(amount: Amount) -> Self {
        Self { usd: bounded(amount.usd.picos()), tokens: bounded(u128::from(amount.tokens)) }
    }

    fn amount(&self) -> Amount {
        let usd = self.usd.parse().map_or(Usd::ZERO, Usd::from_picos);
        Amount { usd, tokens: self.tokens.parse().unwrap_or_default() }
    }
}

impl WireLimit {
    fn of(limit: Limit) -> Self {
        Self {
            usd: limit.usd.map(|usd| bounded(usd.picos())),
            tokens: limit.tokens.map(|tokens| bounded(u128::from(tokens))),
        }
    }
}

/// Redis counts in 64 bits: nine million dollars in a window.
fn bounded(number: u128) -> String {
    number.min(9_000_000_000_000_000_000).to_string()
}

impl std::fmt::Debug for Till {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Till").field("policy", &self.policy).finish_non_exhaustive()
    }
}

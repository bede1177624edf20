//! What the calls of a client cost, and what they may.
//!
//! | file | idea |
//! |---|---|
//! | `bill` | what one attempt comes to: settled, or estimated when it is dropped |
//! | `hold` | what a call has spoken for of a budget, until it ends |
//! | `guess` | tokens where nobody has counted them |
//! | `store` | where the state of budgets is: in memory, with a file behind it |
//! | `state` | that file |
//! | `report` | what JavaScript sees of all this |

mod bill;
mod guess;
mod hold;
mod report;
mod state;
mod store;

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

pub(super) use self::bill::{Bill, Charge};
pub(super) use self::hold::{Answer, Hold, Wish};
pub(super) use self::report::Before;
pub use self::report::{CostReport, SavingsReport};

use self::store::Share;
use super::provider::Provider;
use super::shared::Shared;
use crate::config::{BudgetConfig, ProviderConfig};
use crate::error::Error;
use crate::policy::money::{
    Amount, Books, BudgetPolicy, Crossed, Entry, Numbers, Period, Prices, Row, Standing, Tariff, Tokens, Usd,
    Vendor,
};
use crate::protocol::openai::Usage;
use crate::telemetry::{Audience, Event};

/// What the calls to one provider cost.
#[derive(Debug)]
pub(super) struct Ledger {
    provider: Arc<str>,
    vendor: Option<Vendor>,
    prices: Prices,
    books: Mutex<Books>,
}

/// What all of them cost together, and what they may.
#[derive(Debug)]
pub(super) struct Money {
    tenants: Mutex<Books>,
    saved: Mutex<Saved>,
    budget: Option<Budget>,
    audience: Arc<Audience>,
}

#[derive(Debug)]
struct Budget {
    policy: BudgetPolicy,
    store: Share,
}

/// Calls that nobody had to pay for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    requests: u64,
    cost: Usd,
}

impl Saved {
    fn since(self, before: Self) -> Self {
        Self { requests: self.requests.saturating_sub(before.requests), cost: self.cost.minus(before.cost) }
    }
}

impl Ledger {
    pub(super) fn new(provider: &ProviderConfig, prices: &Prices) -> Self {
        let origin = &provider.base.origin;
        Self {
            provider: provider.name.clone(),
            vendor: Vendor::at(origin.is_secure(), &origin.authority()),
            prices: prices.clone(),
            books: Mutex::default(),
        }
    }

    pub(super) fn vendor(&self) -> Option<Vendor> {
        self.vendor
    }

    fn charge(
        &self,
        model: &Arc<str>,
        answered: &Arc<str>,
        tokens: Tokens,
        is_estimated: bool,
        now: SystemTime,
    ) -> Option<Usd> {
        let find = |now| self.prices.find(&self.provider, self.vendor, model, answered, now);
        let numbers = Numbers::at(now);
        self.books.lock().charge(model, answered, tokens, is_estimated, (now, numbers), find)
    }

    /// As [`Ledger::charge`], of what a batch of the provider's has answered: under a name of its own, `model (batch)`, at the price that is
    /// given for that, or else at half the model's.
    fn charge_batch(&self, model: &Arc<str>, answered: &str, tokens: Tokens, now: SystemTime) -> Option<Usd> {
        let [own, its] = [&**model, answered].map(|name| Arc::<str>::from(format!("{name} (batch)")));
        let find = |now| {
            let prices = |asked: &str, answered: &str| {
                self.prices.find(&self.provider, self.vendor, asked, answered, now)
            };
            prices(&own, &its).or_else(|| Some(prices(model, answered)?.half()))
        };
        self.books.lock().charge(&own, &its, tokens, false, (now, Numbers::at(now)), find)
    }

    /// What was spent, by model.
    pub(super) fn rows(&self, period: Period, now: Numbers) -> Vec<(Arc<str>, Row)> {
        self.books.lock().rows(period, now).map(|(model, row)| (model.clone(), row)).collect()
    }

    /// What a model costs, and how many tokens its answers have in the mean.
    fn expect(&self, model: &Arc<str>, now: SystemTime) -> (Option<Tariff>, Option<f64>) {
        let find = |now| self.prices.find(&self.provider, self.vendor, model, model, now);
        self.books.lock().expect(model, (now, Numbers::at(now)), find)
    }
}

impl Money {
    pub(super) fn new(
        budget: Option<&BudgetConfig>,
        shared: Option<&Shared>,
        audience: &Arc<Audience>,
    ) -> Result<Self, Error> {
        let open = |budget: &BudgetConfig| {
            let store = match (&budget.state, shared) {
                (Some(path), _) => Share::open(path)?,
                (None, None) => Share::in_memory(),
                (None, Some(shared)) => {
                    let audience = audience.clone();
                    Share::with_others(
                        shared,
                        &budget.policy,
                        Box::new(move |crossed| tell(&audience, crossed)),
                    )
                }
            };
            Ok::<_, Error>(Budget { policy: budget.policy.clone(), store })
        };
        Ok(Self {
            tenants: Mutex::default(),
            saved: Mutex::default(),
            budget: budget.map(open).transpose()?,
            audience: audience.clone(),
        })
    }

    /// The last client is closed. If no other one has the file of its budget, that is free when this resolves.
    pub(super) async fn close(&self) {
        if let Some(budget) = &self.budget {
            budget.store.close().await;
        }
    }

    /// As [`Self::close`], and nobody waits for it.
    pub(super) fn let_go(&self) {
        if let Some(budget) = &self.budget {
            budget.store.give_back();
        }
    }

    /// An answer that nobody had to pay for again: from a cache, or from a call that was under way already. `cost`: what it cost the first time.
    pub(super) fn saved(&self, cost: Option<Usd>) {
        let mut saved = self.saved.lock();
        saved.requests += 1;
        saved.cost = saved.cost.plus(cost.unwrap_or_default());
    }

    /// What answers that nobody had to pay for again had cost.
    pub(super) fn saved_cost(&self) -> Usd {
        self.saved.lock().cost
    }

    /// How every limit stands.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let now = SystemTime::now();
        self.budget.as_ref().map(|budget| budget.store.standings(&budget.policy, now)).unwrap_or_default()
    }

    /// Speaks for what a call may come to at a target. None where there is no budget.
    ///
    /// # Errors
    /// Where that is beyond a limit, or a limit in dollars holds for what has no price.
    pub(super) async fn afford(
        self: &Arc<Self>,
        provider: &Provider,
        wish: &Wish<'_>,
    ) -> Result<Option<Hold>, Error> {
        let Some(budget) = &self.budget else { return Ok(None) };
        let held = Hold::take(self, budget, &provider.ledger, wish).await;
        held.map_err(|mut error| {
            error.provider = Some(provider.name().clone());
            error.model = Some(wish.model.clone());
            error
        })
    }

    /// What an attempt came to.
    fn charge(&self, provider: &str, model: &str, tenant: Option<&Arc<str>>, entry: &Entry, now: SystemTime) {
        if let Some(tenant) = tenant {
            self.tenants.lock().enter(tenant, entry, Numbers::at(now));
        }
        if let Some(Budget { policy, store }) = &self.budget {
            let limits = policy.limits(provider, model, tenant);
            let amount = Amount { usd: entry.cost.unwrap_or_default(), tokens: entry.tokens.total() };
            self.tell(store.charge(policy, &limits, amount, now));
        }
    }

    /// An answer of a batch of the provider's.
    pub(super) fn charge_batch(
        &self,
        ledger: &Ledger,
        model: &Arc<str>,
        answered: &str,
        tenant: Option<&Arc<str>>,
        usage: &Usage,
    ) -> Usd {
        let (now, tokens) = (SystemTime::now(), bill::tokens_of(usage));
        let cost = ledger.charge_batch(model, answered, tokens, now);
        let entry = Entry { tokens, cost, is_estimated: false };
        self.charge(&ledger.provider, model, tenant, &entry, now);
        cost.unwrap_or_default()
    }

    /// A limit stands in the way of calls: it is as good as reached.
    fn tell_used_up(&self, budget: &Budget, standing: &Standing) {
        if budget.policy.alert_at.last() == Some(&1.0) && standing.spent < standing.limit {
            self.tell(vec![Crossed { standing: standing.clone(), share: 1.0 }]);
        }
    }

    fn tell(&self, crossed: Vec<Crossed>) {
        tell(&self.audience, crossed);
    }
}

fn tell(audience: &Audience, crossed: Vec<Crossed>) {
    for crossed in crossed {
        let Crossed { standing, share } = &crossed;
        tracing::warn!(target: "trunkline::budget", scope = standing.scope, share, spent = standing.spent);
        audience.tell(|| Event::Budget(crossed.clone()));
    }
}

//! What JavaScript sees of what was spent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Budget, Money, Saved};
use crate::client::provider::Provider;
use crate::policy::money::{Numbers, Period, Row, Scope, Standing, Unit, Usd};
use crate::pool::Snapshot;

/// What was spent in a time. Sums in dollars.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CostReport {
    total: Usd,
    currency: &'static str,
    /// What of the total is estimated.
    estimated: Usd,
    by_model: BTreeMap<String, ModelCost>,
    by_provider: BTreeMap<Arc<str>, Usd>,
    by_tenant: BTreeMap<Arc<str>, Usd>,
    unpriced: BTreeSet<String>,
    budget: Option<BudgetReport>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelCost {
    requests: u64,
    input_tokens: u64,
    cached_input_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    cost: Usd,
    estimated: Usd,
    unpriced: u64,
}

/// How the limit stands that is of all calls, and each of the others.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetReport {
    limit: Option<f64>,
    spent: f64,
    reserved: f64,
    window: &'static str,
    resets_at: u64,
    limits: Vec<Standing>,
    problem: Option<String>,
}

/// What pooling, cache and single flight have saved. Times in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SavingsReport {
    /// How long the client has been there: what the figures are of.
    uptime: f64,
    handshakes_avoided: u64,
    /// The mean time of a handshake that was made.
    handshake: f64,
    time_saved: f64,
    requests_saved: u64,
    cost_saved: Usd,
    /// What was spent meanwhile.
    cost: Usd,
    /// None before the first minute: there is no rate yet.
    per_month: Option<Projection>,
}

/// What there was by a moment, of what a client shares. It is told what came after it was made: the pool may be older, and others of its name.
#[derive(Debug, Default)]
pub(in crate::client) struct Before {
    pooled: Pooled,
    saved: Saved,
    cost: Usd,
}

/// What a pool had saved by a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Pooled {
    reused: u64,
    time_saved: f64,
}

/// The same in thirty days at this rate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Projection {
    handshakes_avoided: f64,
    time_saved: f64,
    requests_saved: f64,
    cost_saved: f64,
    cost: f64,
}

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const RATE_AFTER: Duration = Duration::from_secs(60);

impl Pooled {
    fn by(pool: &Snapshot) -> Self {
        Self { reused: pool.reused, time_saved: pool.handshake_time_saved }
    }

    fn since(self, before: Self) -> Self {
        Self {
            reused: self.reused.saturating_sub(before.reused),
            time_saved: (self.time_saved - before.time_saved).max(0.0),
        }
    }
}

impl Money {
    pub(in crate::client) fn report<'a>(
        &self,
        providers: impl Iterator<Item = &'a Arc<Provider>> + Clone,
        period: Period,
    ) -> CostReport {
        let now = SystemTime::now();
        let numbers = Numbers::at(now);
        let is_one = providers.clone().nth(1).is_none();
        let (mut by_model, mut by_provider) = (BTreeMap::<_, Row>::new(), BTreeMap::new());
        let mut unpriced = BTreeSet::new();
        let mut sum = Row::default();
        for provider in providers {
            let mut of_provider = Row::default();
            for (model, row) in provider.ledger.books.lock().rows(period, numbers) {
                of_provider.merge(&row);
                by_model.entry(model.to_string()).or_default().merge(&row);
                if row.unpriced > 0 {
                    let name = provider.name();
                    unpriced.insert(if is_one { model.to_string() } else { format!("{name}/{model}") });
                }
            }
            sum.merge(&of_provider);
            if of_provider.requests > 0 {
                by_provider.insert(provider.name().clone(), of_provider.cost);
            }
        }
        let tenants = self.tenants.lock();
        let by_tenant = tenants.rows(period, numbers).map(|(name, row)| (name.clone(), row.cost)).collect();
        CostReport {
            total: sum.cost,
            currency: "USD",
            estimated: sum.estimated,
            by_model: by_model.into_iter().map(|(model, row)| (model, row.into())).collect(),
            by_provider,
            by_tenant,
            unpriced,
            budget: self.budget.as_ref().map(|budget| budget.report(now)),
        }
    }

    /// What was spent since the client was made.
    pub(in crate::client) fn total<'a>(&self, providers: impl Iterator<Item = &'a Arc<Provider>>) -> Usd {
        let numbers = Numbers::at(SystemTime::now());
        let of = |provider: &Arc<Provider>| -> Usd {
            provider.ledger.books.lock().rows(Period::All, numbers).map(|(_, row)| row.cost).sum()
        };
        providers.map(of).sum()
    }

    /// What there is now, for a client that is just being made.
    pub(in crate::client) fn by_now<'a>(
        &self,
        pool: &Snapshot,
        providers: impl Iterator<Item = &'a Arc<Provider>>,
    ) -> Before {
        Before { pooled: Pooled::by(pool), saved: *self.saved.lock(), cost: self.total(providers) }
    }

    /// `before`: what there was when the client was made; `cost`: all that was spent by now.
    pub(in crate::client) fn savings(
        &self,
        pool: &Snapshot,
        before: &Before,
        cost: Usd,
        uptime: Duration,
    ) -> SavingsReport {
        let saved = self.saved.lock().since(before.saved);
        let cost = cost.minus(before.cost);
        let Pooled { reused, time_saved } = Pooled::by(pool).since(before.pooled);
        let per_month = (uptime >= RATE_AFTER).then(|| {
            let times = MONTH.as_secs_f64() / uptime.as_secs_f64();
            Projection {
                handshakes_avoided: reused as f64 * times,
                time_saved: time_saved * times,
                requests_saved: saved.requests as f64 * times,
                cost_saved: saved.cost.dollars() * times,
                cost: cost.dollars() * times,
            }
        });
        SavingsReport {
            uptime: uptime.as_secs_f64() * 1000.0,
            handshakes_avoided: reused,
            handshake: pool.handshake.mean,
            time_saved,
            requests_saved: saved.requests,
            cost_saved: saved.cost,
            cost,
            per_month,
        }
    }

    /// What is wrong with the state of the budget.
    pub(in crate::client) fn problem(&self) -> Option<String> {
        self.budget.as_ref()?.store.problem()
    }
}

impl Budget {
    fn report(&self, now: SystemTime) -> BudgetReport {
        let Self { policy, store } = self;
        let limits = store.standings(policy, now);
        let whole = store.standing(policy, &Scope::All, Unit::Usd, now);
        BudgetReport {
            limit: policy.all.usd.map(Usd::dollars),
            spent: whole.spent,
            reserved: whole.reserved,
            window: whole.window,
            resets_at: whole.resets_at,
            limits,
            problem: store.problem(),
        }
    }
}

impl From<Row> for ModelCost {
    fn from(row: Row) -> Self {
        Self {
            requests: row.requests,
            input_tokens: row.input,
            cached_input_tokens: row.cached,
            cache_write_tokens: row.written,
            output_tokens: row.output,
            reasoning_tokens: row.reasoning,
            cost: row.cost,
            estimated: row.estimated,
            unpriced: row.unpriced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{Config, Pool, Tasks};

    #[tokio::test]
    async fn savings_are_since_the_client_was_made_and_projected_from_a_minute_on() {
        let money = Money::new(None, None, &Arc::default()).unwrap();
        let pool = Pool::new(Config::default(), Tasks::new(tokio::runtime::Handle::current()));
        let snapshot = Snapshot { reused: 1003, handshake_time_saved: 50_006.0, ..pool.snapshot() };
        let pooled = Pooled { reused: 1000, time_saved: 50_000.0 };
        let before = Before { pooled, cost: Usd::from_dollars(3.0), ..Before::default() };
        let report = |seconds| {
            let uptime = Duration::from_secs(seconds);
            let report = money.savings(&snapshot, &before, Usd::from_dollars(3.5), uptime);
            serde_json::to_value(report).unwrap()
        };
        let young = report(59);
        assert_eq!((&young["handshakesAvoided"], &young["timeSaved"]), (&3.into(), &6.0.into()));
        assert_eq!(young["perMonth"], serde_json::Value::Null, "a rate of nothing is none");
        let month = &report(60)["perMonth"];
        assert_eq!(month["handshakesAvoided"], 3.0 * 43_200.0);
        assert_eq!((&month["timeSaved"], &month["cost"]), (&(6.0 * 43_200.0).into(), &21_600.0.into()));
    }
}

//! The figures of a client, as whoever asks has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::Client;
use super::money::{CostReport, SavingsReport};
use super::provider::Provider;
use crate::config::ExportOptions;
use crate::error::Error;
use crate::policy::money::Period;
use crate::telemetry::{Clocks, Format, Metrics, TurnFigures};

impl Client {
    pub fn metrics(&self) -> Metrics {
        let mut pool = self.pool.snapshot();
        for origin in &mut pool.origins {
            origin.provider = self.provider_at(&origin.origin).map(|provider| provider.name().clone());
        }
        let mut turns = self.tenant_turns();
        let (mut circuits, mut limits) = (BTreeMap::new(), BTreeMap::new());
        let clocks = Clocks::read();
        for provider in self.targets.providers() {
            provider.admission.add_to(&mut turns);
            provider.circuit_figures(&clocks, &mut circuits);
            provider.limit_figures(&clocks, &mut limits);
        }
        let cache = self.memory.as_ref().map(|memory| memory.figures());
        let cost = self.money.total(self.targets.providers()).dollars();
        self.counters.metrics(pool, turns, circuits, limits, cache, cost)
    }

    /// Its figures as a text, for whoever scrapes them; `as_json`: for a library that does.
    ///
    /// # Errors
    /// Where the options are none.
    pub fn export(&self, options: Value, as_json: bool) -> Result<String, Error> {
        let ExportOptions { format, labels } = ExportOptions::parse(options)?;
        Ok(self.figures(labels).encode(if as_json { Format::Json } else { format }))
    }

    /// What was spent, by model, provider and tenant.
    pub fn costs(&self, period: Period) -> CostReport {
        self.money.report(self.targets.providers(), period)
    }

    /// What pooling, cache and single flight have saved.
    pub fn savings(&self) -> SavingsReport {
        let cost = self.money.total(self.targets.providers());
        self.money.savings(&self.pool.snapshot(), &self.before, cost, self.counters.uptime())
    }

    /// Whose origin this is.
    pub(super) fn provider_at(&self, origin: &str) -> Option<&Arc<Provider>> {
        self.targets.providers().find(|provider| *provider.origin().to_string() == *origin)
    }

    /// Of the calls that wait for others of their tenant, before those that wait for their provider; and how many of the client's own were refused.
    pub(super) fn tenant_turns(&self) -> TurnFigures {
        let refused = self.counters.turns.refused.load(Ordering::Relaxed);
        let mut turns = TurnFigures { refused, ..TurnFigures::default() };
        if let Some(tenants) = &self.tenants {
            turns.depth = tenants.depth();
        }
        turns
    }
}

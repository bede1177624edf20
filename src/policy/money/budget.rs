//! What may be spent in a window of the calendar: in all, by model, by tenant; in dollars and in tokens.
//!
//! A call speaks for what it may come to before it is sent, and is charged with what it came to. It is refused where what was spent, what
//! others have spoken for and what it asks for itself are together more than a limit. So calls that run side by side do not go beyond it
//! together, but for what one of them comes to beyond what it asked for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::amount::Usd;
use super::calendar::{Numbers, Window};
use super::ledger::OTHERS;

/// Tenants with a sum of their own in a window; what further ones spend is one sum.
const MAX_SCOPES: usize = 100_000;

/// Dollars and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub usd: Usd,
    pub tokens: u64,
}

/// What is the most of each; None for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    pub usd: Option<Usd>,
    pub tokens: Option<u64>,
}

/// Of whom a limit is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    All,
    /// A model, or `provider/model`, as the option names it.
    Model(Arc<str>),
    Tenant(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Usd,
    Tokens,
}

impl Unit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
        }
    }
}

/// What the options say.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetPolicy {
    pub window: Window,
    pub all: Limit,
    pub models: BTreeMap<Arc<str>, Limit>,
    pub tenant: Limit,
    /// Shares of a limit that are told of, from the least to the greatest.
    pub alert_at: Vec<f64>,
    /// Whether a call that would go beyond is refused.
    pub blocks: bool,
    /// Whether what has no price may be called though a limit in dollars holds for it.
    pub allows_unpriced: bool,
}

/// The limits that hold for one call.
#[derive(Clone, Debug, Default)]
pub struct Limits(Vec<(Scope, Limit)>);

/// A limit that a call would go beyond.
#[derive(Clone, Debug, PartialEq)]
pub struct Exceeded {
    pub standing: Standing,
    /// Whether what calls under way have spoken for is all that stands in its way.
    pub may_pass_soon: bool,
    /// Whether it is the first in its window.
    pub is_first: bool,
}

/// How a limit stands. In dollars, or tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub scope: &'static str,
    /// Of the model or tenant.
    pub name: Option<Arc<str>>,
    pub unit: Unit,
    pub limit: f64,
    pub spent: f64,
    /// Spoken for by calls under way.
    pub reserved: f64,
    pub window: &'static str,
    /// Milliseconds since 1970.
    pub resets_at: u64,
}

/// A share of a limit that was reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossed {
    #[serde(flatten)]
    pub standing: Standing,
    pub share: f64,
}

/// What was spent, and what is spoken for.
#[derive(Debug, Default)]
pub struct Purse {
    rows: HashMap<Scope, Spent>,
}

/// The same of one scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    /// By window: its number, and what was spent in it.
    windows: [(u32, Amount); 3],
    reserved: Amount,
    /// The number of the window in which a call was refused last, and one more.
    refused: u32,
}

impl Amount {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { usd: self.usd.plus(other.usd), tokens: self.tokens.saturating_add(other.tokens) }
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { usd: self.usd.minus(other.usd), tokens: self.tokens.saturating_sub(other.tokens) }
    }
}

impl Limit {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Its halves that there are: how much, and what an amount has of that.
    fn parts(&self) -> impl Iterator<Item = (Unit, u128, fn(Amount) -> u128)> {
        let usd = self.usd.map(|limit| {
            let of: fn(Amount) -> u128 = |amount| amount.usd.picos();
            (Unit::Usd, limit.picos(), of)
        });
        let tokens = self.tokens.map(|limit| {
            let of: fn(Amount) -> u128 = |amount| u128::from(amount.tokens);
            (Unit::Tokens, u128::from(limit), of)
        });
        usd.into_iter().chain(tokens)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            None => f.write_str(self.kind()),
            Some(name) => write!(f, "{}:{name}", self.kind()),
        }
    }
}

impl Scope {
    fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Model(_) => "model",
            Self::Tenant(_) => "tenant",
        }
    }

    fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::All => None,
            Self::Model(name) | Self::Tenant(name) => Some(name),
        }
    }
}

impl BudgetPolicy {
    /// The limits that hold for a call to this model, for this tenant. What is spent in all is always counted.
    pub fn limits(&self, provider: &str, model: &str, tenant: Option<&Arc<str>>) -> Limits {
        let mut limits = vec![(Scope::All, self.all)];
        let is_its = |name: &str| {
            let rest = name.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/'));
            name == model || rest == Some(model)
        };
        let models = self.models.iter().filter(|(name, _)| is_its(name));
        limits.extend(models.map(|(name, limit)| (Scope::Model(name.clone()), *limit)));
        if let Some(tenant) = tenant.filter(|_| !self.tenant.is_none()) {
            limits.push((Scope::Tenant(tenant.clone()), self.tenant));
        }
        Limits(limits)
    }

    /// What is the most of a scope.
    pub fn limit(&self, scope: &Scope) -> Limit {
        match scope {
            Scope::All => self.all,
            Scope::Model(name) => self.models.get(name).copied().unwrap_or_default(),
            Scope::Tenant(_) => self.tenant,
        }
    }

    /// How one of the limits stands, be there one or not.
    pub fn standing(&self, purse: &Purse, scope: &Scope, unit: Unit, now: Numbers) -> Standing {
        let limit = self.limit(scope);
        let spent = purse.rows.get(scope);
        let (number, amount) =
            spent.map_or((0, Amount::default()), |spent| spent.windows[self.window as usize]);
        let number = number.max(now.of(self.window));
        let amount = spent.map_or(amount, |spent| spent.in_window(self.window, now));
        let shown = |amount: Amount| match unit {
            Unit::Usd => amount.usd.dollars(),
            Unit::Tokens => amount.tokens as f64,
        };
        Standing {
            scope: scope.kind(),
            name: scope.name().cloned(),
            unit,
            limit: match unit {
                Unit::Usd => limit.usd.unwrap_or_default().dollars(),
                Unit::Tokens => limit.tokens.unwrap_or_default() as f64,
            },
            spent: shown(amount),
            reserved: shown(spent.map_or_else(Amount::default, |spent| spent.reserved)),
            window: self.window.as_str(),
            resets_at: self.window.begins(number.saturating_add(1)) * 1000,
        }
    }
}

impl Limits {
    /// Whether one of them is in dollars.
    pub fn has_usd(&self) -> bool {
        self.0.iter().any(|(_, limit)| limit.usd.is_some())
    }

    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter().map(|(scope, _)| scope)
    }
}

impl Purse {
    /// Speaks for what a call may come to, unless that is beyond a limit. All of it is spoken for, or nothing is. To be
    /// [released](Self::release) with the same limits: where there are too many tenants, they say who stands for this one.
    pub fn reserve(
        &mut self,
        policy: &BudgetPolicy,
        limits: &mut Limits,
        ask: Amount,
        now: Numbers,
    ) -> Result<(), Box<Exceeded>> {
        for (scope, _) in &mut limits.0 {
            self.make_room(scope, now);
        }
        for (scope, limit) in limits.0.iter().filter(|_| policy.blocks) {
            let row = self.rows.entry(scope.clone()).or_default();
            let (spent, reserved) = (row.in_window(policy.window, now), row.reserved);
            for (unit, limit, of) in limit.parts() {
                let may_pass_soon = of(spent).saturating_add(of(ask)) <= limit;
                if of(spent).saturating_add(of(reserved)).saturating_add(of(ask)) > limit {
                    let number = row.number(policy.window, now).saturating_add(1);
                    let is_first = !may_pass_soon && std::mem::replace(&mut row.refused, number) != number;
                    let standing = policy.standing(self, scope, unit, now);
                    return Err(Box::new(Exceeded { standing, may_pass_soon, is_first }));
                }
            }
        }
        self.hold(limits, ask);
        Ok(())
    }

    /// What was spoken for is no longer.
    pub fn release(&mut self, limits: &Limits, ask: Amount) {
        for scope in limits.scopes() {
            if let Some(row) = self.rows.get_mut(scope) {
                row.reserved = row.reserved.minus(ask);
            }
        }
    }

    /// Enters what was spent, and gives the shares of limits that were reached by it.
    pub fn charge(
        &mut self,
        policy: &BudgetPolicy,
        limits: &Limits,
        amount: Amount,
        now: Numbers,
    ) -> Vec<Crossed> {
        let mut crossed = Vec::new();
        for (scope, limit) in &limits.0 {
            let row = self.rows.entry(scope.clone()).or_default();
            let before = row.in_window(policy.window, now);
            row.spend(amount, now);
            let after = row.in_window(policy.window, now);
            crossed.extend(self.crossed(policy, (scope, limit), (before, after), now));
        }
        crossed
    }

    /// Takes over how a scope stands from whoever counts for all; gives the shares that were reached from `before` to what is spent now.
    pub fn adopt(
        &mut self,
        policy: &BudgetPolicy,
        scope: &Scope,
        number: u32,
        (before, spent): (Amount, Amount),
        reserved: Amount,
    ) -> Vec<Crossed> {
        let row = self.rows.entry(scope.clone()).or_default();
        row.windows[policy.window as usize] = (number, spent);
        row.reserved = reserved;
        let now = Numbers::at_second(policy.window.begins(number));
        self.crossed(policy, (scope, &policy.limit(scope)), (before, spent), now)
    }

    fn crossed(
        &self,
        policy: &BudgetPolicy,
        (scope, limit): (&Scope, &Limit),
        (before, after): (Amount, Amount),
        now: Numbers,
    ) -> Vec<Crossed> {
        let was_refused = self
            .rows
            .get(scope)
            .is_some_and(|row| row.refused == row.number(policy.window, now).saturating_add(1));
        let mut crossed = Vec::new();
        for (unit, limit, of) in limit.parts() {
            let reached = policy.alert_at.iter().filter(|share| {
                let at = (limit as f64 * **share).round() as u128;
                // That it is used up was told when the first call was refused.
                of(before) < at && of(after) >= at && !(**share == 1.0 && was_refused)
            });
            for share in reached {
                let standing = policy.standing(self, scope, unit, now);
                crossed.push(Crossed { standing, share: *share });
            }
        }
        crossed
    }

    /// Speaks for what was found to be within the limits by whoever counts for all.
    pub fn hold(&mut self, limits: &Limits, ask: Amount) {
        for scope in limits.scopes() {
            let row = self.rows.entry(scope.clone()).or_default();
            row.reserved = row.reserved.plus(ask);
        }
    }

    /// How all the limits stand that were heard of.
    pub fn standings(&self, policy: &BudgetPolicy, now: Numbers) -> Vec<Standing> {
        let tenants = self.rows.iter().filter(|(scope, row)| {
            matches!(scope, Scope::Tenant(_)) && row.in_window(policy.window, now) != Amount::default()
        });
        let models = policy.models.iter().map(|(name, limit)| (Scope::Model(name.clone()), *limit));
        let tenants = tenants.map(|(scope, _)| (scope.clone(), policy.tenant));
        let mut standings: Vec<_> =
            [(Scope::All, policy.all)].into_iter().chain(models).chain(tenants).collect();
        standings.sort_by(|(one, _), (other, _)| one.cmp(other));
        let parts = standings.iter().flat_map(|(scope, limit)| {
            limit.parts().map(move |(unit, ..)| policy.standing(self, scope, unit, now))
        });
        parts.collect()
    }

    /// What was spent by whom: for what keeps it.
    pub fn rows(&self) -> impl Iterator<Item = (&Scope, &[(u32, Amount); 3])> {
        self.rows.iter().map(|(scope, spent)| (scope, &spent.windows))
    }

    /// Takes over what was spent before.
    pub fn restore(&mut self, scope: Scope, windows: [(u32, Amount); 3]) {
        self.rows.entry(scope).or_default().windows = windows;
    }

    /// The same of one that is told by its time.
    pub fn spend(&mut self, scope: &Scope, amount: Amount, then: Numbers) {
        let mut scope = scope.clone();
        self.make_room(&mut scope, then);
        self.rows.entry(scope).or_default().spend(amount, then);
    }

    /// Where there are too many tenants, those of whom nothing is to be said any more are forgotten; if there are still too many, a new one
    /// is among the others.
    fn make_room(&mut self, scope: &mut Scope, now: Numbers) {
        let is_full =
            |purse: &Self, scope: &Scope| purse.rows.len() >= MAX_SCOPES && !purse.rows.contains_key(scope);
        if !is_full(self, scope) {
            return;
        }
        self.rows.retain(|_, row| {
            let is_spent = |window| row.in_window(window, now) != Amount::default();
            row.reserved != Amount::default() || Window::ALL.into_iter().any(is_spent)
        });
        if matches!(scope, Scope::Tenant(_)) && is_full(self, scope) {
            *scope = Scope::Tenant(OTHERS.into());
        }
    }
}

impl Spent {
    fn spend(&mut self, amount: Amount, now: Numbers) {
        for (window, (number, sum)) in Window::ALL.into_iter().zip(&mut self.windows) {
            // A clock that goes back stays in the window that it has come to: nobody may spend twice what a window has.
            let now = now.of(window).max(*number);
            *sum = if now == *number { sum.plus(amount) } else { amount };
            *number = now;
        }
    }

    fn in_window(&self, window: Window, now: Numbers) -> Amount {
        let (number, sum) = self.windows[window as usize];
        if now.of(window) > number { Amount::default() } else { sum }
    }

    fn number(&self, window: Window, now: Numbers) -> u32 {
        self.windows[window as usize].0.max(now.of(window))
    }
}

#[cfg(test)]
mod tests;

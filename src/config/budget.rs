//! The option `budget`: what may be spent in an hour, a day or a month.

use std::path::PathBuf;

use serde_json::Value;

use super::section::{Entry, Section, kind_of};
use crate::error::Error;
use crate::policy::money::{BudgetPolicy, Limit, Usd, Window};

/// What may be spent, and where it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetConfig {
    pub policy: BudgetPolicy,
    /// None for memory alone.
    pub state: Option<PathBuf>,
}

const ALERT_AT: [f64; 3] = [0.5, 0.8, 1.0];

/// None where nothing is limited.
pub(super) fn parse_budget(top: &mut Section) -> Result<Option<BudgetConfig>, Error> {
    let Some(mut given) = top.section("budget")? else {
        return Ok(None);
    };
    let windows = Window::ALL.map(|window| (window.as_str(), window));
    let mut policy = BudgetPolicy {
        all: parse_parts(&mut given)?,
        window: given.one_of("window", &windows)?.unwrap_or(Window::Month),
        tenant: Limit::default(),
        models: Default::default(),
        alert_at: ALERT_AT.to_vec(),
        blocks: given.one_of("onExceeded", &[("block", true), ("alert", false)])?.unwrap_or(true),
        allows_unpriced: given.one_of("unpriced", &[("refuse", false), ("allow", true)])?.unwrap_or(false),
    };
    if let Some(shares) = given.list("alertAt")? {
        policy.alert_at = parse_shares(&given, &shares)?;
    }
    for Entry { name, path, value } in given.entries("perModel")?.unwrap_or_default() {
        policy.models.insert(name.into(), parse_limit(path, value)?);
    }
    if let Some(value) = given.value("perTenant") {
        policy.tenant = parse_limit(format!("{}.perTenant", given.path()), value)?;
    }
    let state = given.string("state")?;
    if state.as_deref() == Some("") {
        return Err(given.error("state", "must be the path of a file, and is empty"));
    }
    let is_empty = policy.all.is_none() && policy.tenant.is_none() && policy.models.is_empty();
    let missing = given.error("limit", "must be given, or tokens, perModel or perTenant");
    given.finish()?;
    if is_empty {
        return Err(missing);
    }
    Ok(Some(BudgetConfig { policy, state: state.map(PathBuf::from) }))
}

/// Dollars, or an object with both.
fn parse_limit(path: String, value: Value) -> Result<Limit, Error> {
    match value {
        Value::Number(_) => {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", &path));
            let section = Section::of(parent.to_owned(), Value::Object(Default::default()))?;
            let dollars = section.above_zero(name, &value)?;
            Ok(Limit { usd: Some(Usd::from_dollars(dollars)), tokens: None })
        }
        Value::Object(_) => {
            let mut given = Section::of(path, value)?;
            let limit = parse_parts(&mut given)?;
            if limit.is_none() {
                return Err(given.error("limit", "must be given, or tokens"));
            }
            given.finish()?;
            Ok(limit)
        }
        other => {
            let got = kind_of(&other);
            Err(Error::config(format!(
                "{path}: must be a number above 0, or an object with limit or tokens, got {got}"
            )))
        }
    }
}

fn parse_parts(given: &mut Section) -> Result<Limit, Error> {
    let usd = given.positive_number("limit")?.map(Usd::from_dollars);
    let tokens = given.positive("tokens")?.map(|tokens| tokens.get() as u64);
    Ok(Limit { usd, tokens })
}

fn parse_shares(given: &Section, shares: &[Value]) -> Result<Vec<f64>, Error> {
    let share = |value: &Value| {
        let share = value.as_f64().filter(|share| *share > 0.0 && *share <= 1.0);
        share.ok_or_else(|| {
            let got = if value.is_number() { value.to_string() } else { kind_of(value) };
            given.error("alertAt", format!("must hold numbers above 0 and at most 1, got {got}"))
        })
    };
    let mut shares = shares.iter().map(share).collect::<Result<Vec<_>, _>>()?;
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn budget(given: Value) -> Result<Option<BudgetConfig>, String> {
        let mut top = Section::top("options", json!({ "budget": given })).unwrap();
        let budget = parse_budget(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(budget)
    }

    fn usd(dollars: f64) -> Limit {
        Limit { usd: Some(Usd::from_dollars(dollars)), tokens: None }
    }

    #[test]
    fn a_limit_is_of_a_month_blocks_and_is_told_of_at_half_and_later() {
        let BudgetConfig { policy, state } = budget(json!({"limit": 10})).unwrap().unwrap();
        assert_eq!((policy.all, policy.window, policy.blocks), (usd(10.0), Window::Month, true));
        assert_eq!((policy.alert_at.as_slice(), policy.allows_unpriced, state), (&ALERT_AT[..], false, None));
    }

    #[test]
    fn limits_may_be_of_models_of_tenants_and_of_tokens() {
        let given = json!({
            "tokens": 1000, "window": "hour", "alertAt": [1, 0.25, 1], "onExceeded": "alert", "state": "b.log",
            "perModel": {"p/m": 1, "n": {"tokens": 5, "limit": 2}}, "perTenant": {"tokens": 7}, "unpriced": "allow",
        });
        let BudgetConfig { policy, state } = budget(given).unwrap().unwrap();
        assert_eq!(policy.all, Limit { usd: None, tokens: Some(1000) });
        assert_eq!((policy.models["p/m"], policy.models["n"].tokens), (usd(1.0), Some(5)));
        assert_eq!((policy.tenant.tokens, &*policy.alert_at), (Some(7), &[0.25, 1.0][..]));
        assert!(!policy.blocks && policy.allows_unpriced && policy.window == Window::Hour);
        assert_eq!(state, Some("b.log".into()));
    }

    #[test]
    fn mistakes_name_the_path() {
        let table = [
            (json!(10), "budget: must be an object, got a number (10)"),
            (json!({}), "budget.limit: must be given, or tokens, perModel or perTenant"),
            (json!({"limit": 0}), "budget.limit: must be a number above 0, got 0"),
            (json!({"limit": -1}), "budget.limit: must be a number above 0, got -1"),
            (json!({"tokens": 0}), "budget.tokens: must be a positive integer, got 0"),
            (json!({"perModel": {"m": 0}}), "budget.perModel.m: must be a number above 0, got 0"),
            (json!({"perModel": {"m": {}}}), "budget.perModel.m.limit: must be given, or tokens"),
            (
                json!({"perTenant": "1"}),
                "budget.perTenant: must be a number above 0, or an object with limit or tokens, got a string",
            ),
            (
                json!({"limit": 1, "window": "week"}),
                "budget.window: must be one of 'hour', 'day', 'month', got 'week'",
            ),
            (
                json!({"limit": 1, "alertAt": [0]}),
                "budget.alertAt: must hold numbers above 0 and at most 1, got 0",
            ),
            (json!({"limit": 1, "state": ""}), "budget.state: must be the path of a file, and is empty"),
            (json!({"limits": 1}), "budget.limits: is not an option; did you mean budget.limit?"),
        ];
        for (given, message) in table {
            assert_eq!(budget(given), Err(message.to_owned()));
        }
    }
}

//! The options of circuit breakers, and of the budget of retries.

use super::section::Section;
use crate::error::Error;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::retry_budget::RetryBudgetPolicy;

/// `circuitBreaker` of a client; `false` is None.
pub(super) fn parse_circuit_breaker(top: &mut Section) -> Result<Option<BreakerPolicy>, Error> {
    if top.take_false("circuitBreaker") {
        return Ok(None);
    }
    let mut policy = BreakerPolicy::default();
    let Some(mut given) = top.section("circuitBreaker")? else {
        return Ok(Some(policy));
    };
    let counts =
        [("failureThreshold", &mut policy.failure_threshold), ("minimumCalls", &mut policy.minimum_calls)];
    for (name, field) in counts {
        if let Some(count) = given.positive(name)? {
            *field = u32::try_from(count.get()).unwrap_or(u32::MAX);
        }
    }
    let ratio = given.number("failureRatio", "above 0 and at most 1", |ratio| ratio > 0.0 && ratio <= 1.0)?;
    if let Some(ratio) = ratio {
        policy.failure_ratio = ratio;
    }
    let durations = [("window", &mut policy.window), ("recoveryTimeout", &mut policy.recovery)];
    for (name, field) in durations {
        if let Some(time) = given.duration(name)? {
            *field = time;
        }
    }
    given.finish()?;
    Ok(Some(policy))
}

/// `budget` of the section `retry`.
pub(super) fn parse_retry_budget(retry: &mut Section) -> Result<Option<RetryBudgetPolicy>, Error> {
    let Some(mut given) = retry.section("budget")? else {
        return Ok(None);
    };
    let mut policy = RetryBudgetPolicy::default();
    if let Some(ratio) = given.number("ratio", "from 0 to 1", |ratio| (0.0..=1.0).contains(&ratio))? {
        policy.ratio = ratio;
    }
    if let Some(rate) = given.number("minPerSecond", "a number of 0 or more", |rate| rate >= 0.0)? {
        policy.min_per_second = rate;
    }
    given.finish()?;
    Ok(Some(policy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn breaker(given: Value) -> Result<Option<BreakerPolicy>, String> {
        let mut top = Section::top("options", json!({ "circuitBreaker": given })).unwrap();
        parse_circuit_breaker(&mut top).map_err(|error| error.message.clone())
    }

    fn budget(given: Value) -> Result<RetryBudgetPolicy, String> {
        let mut top = Section::top("options", json!({ "retry": { "budget": given } })).unwrap();
        let mut retry = top.section("retry").unwrap().unwrap();
        parse_retry_budget(&mut retry).map(Option::unwrap_or_default).map_err(|error| error.message.clone())
    }

    #[test]
    fn nothing_given_is_the_documented_defaults_and_false_is_no_breaker() {
        let mut empty = Section::top("options", json!({})).unwrap();
        assert_eq!(parse_circuit_breaker(&mut empty).unwrap(), Some(BreakerPolicy::default()));
        assert_eq!(breaker(json!({})).unwrap(), Some(BreakerPolicy::default()));
        assert_eq!(breaker(json!(false)).unwrap(), None);
        assert_eq!(parse_retry_budget(&mut empty).unwrap(), None);
        assert_eq!(budget(json!({})).unwrap(), RetryBudgetPolicy::default());
    }

    #[test]
    fn each_option_is_taken() {
        let given = json!({
            "failureThreshold": 3, "failureRatio": 1, "minimumCalls": 1e12, "window": 500.5, "recoveryTimeout": 1
        });
        let policy = BreakerPolicy {
            failure_threshold: 3,
            failure_ratio: 1.0,
            minimum_calls: u32::MAX,
            window: Duration::from_micros(500_500),
            recovery: Duration::from_millis(1),
        };
        assert_eq!(breaker(given).unwrap(), Some(policy));
        let policy = RetryBudgetPolicy { ratio: 0.0, min_per_second: 0.5 };
        assert_eq!(budget(json!({ "ratio": 0, "minPerSecond": 0.5 })).unwrap(), policy);
    }

    #[test]
    fn a_mistake_names_the_path_and_what_was_given() {
        let ratio = "circuitBreaker.failureRatio: must be above 0 and at most 1, got";
        let table = [
            (json!({ "failureRatio": 1.5 }), format!("{ratio} 1.5")),
            (json!({ "failureRatio": 0 }), format!("{ratio} 0")),
            (json!({ "failureRatio": "0.5" }), format!("{ratio} a string")),
            (json!({ "failureRatio": { "\u{0}kind": "NaN" } }), format!("{ratio} NaN")),
            (
                json!({ "failureThreshold": 0 }),
                "circuitBreaker.failureThreshold: must be a positive integer, got 0".into(),
            ),
            (
                json!({ "minimumCalls": 0.5 }),
                "circuitBreaker.minimumCalls: must be a positive integer, got 0.5".into(),
            ),
            (
                json!({ "window": 0 }),
                "circuitBreaker.window: must be a positive number of milliseconds, got 0".into(),
            ),
            (
                json!({ "recoveryTimeout": -1 }),
                "circuitBreaker.recoveryTimeout: must be a positive number of milliseconds, got -1".into(),
            ),
            (
                json!({ "recovery": 1 }),
                "circuitBreaker.recovery: is not an option; there are failureThreshold, minimumCalls, failureRatio, \
                 window, recoveryTimeout"
                    .into(),
            ),
            (json!(5), "circuitBreaker: must be an object, got a number (5)".into()),
        ];
        for (given, message) in table {
            assert_eq!(breaker(given).unwrap_err(), message);
        }
        let table = [
            (json!({ "ratio": 1.5 }), "retry.budget.ratio: must be from 0 to 1, got 1.5"),
            (json!({ "ratio": -0.1 }), "retry.budget.ratio: must be from 0 to 1, got -0.1"),
            (
                json!({ "minPerSecond": -1 }),
                "retry.budget.minPerSecond: must be a number of 0 or more, got -1",
            ),
            (
                json!({ "minPerSeconds": 1 }),
                "retry.budget.minPerSeconds: is not an option; did you mean retry.budget.minPerSecond?",
            ),
            (json!(false), "retry.budget: must be an object, got a boolean"),
        ];
        for (given, message) in table {
            assert_eq!(budget(given).unwrap_err(), message);
        }
    }
}

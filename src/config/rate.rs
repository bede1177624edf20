//! The options of the rate limits.

use std::collections::HashMap;

use super::section::Section;
use crate::error::Error;
use crate::policy::rate::{RateLimits, Reservoir};

/// `rateLimit`; `base` is what holds where it says nothing.
pub(super) fn parse_rate(top: &mut Section, base: &RateLimits) -> Result<RateLimits, Error> {
    let Some(mut given) = top.section("rateLimit")? else {
        return Ok(base.clone());
    };
    let path = given.path().to_owned();
    let mut limits = RateLimits {
        requests_per_second: given.positive_number("requestsPerSecond")?.or(base.requests_per_second),
        requests_per_minute: given.positive_number("requestsPerMinute")?.or(base.requests_per_minute),
        tokens_per_minute: given.positive_number("tokensPerMinute")?.or(base.tokens_per_minute),
        min_interval: given.duration("minInterval")?.or(base.min_interval),
        burst: given.positive_number("burst")?.or(base.burst),
        ..base.clone()
    };
    if let Some(burst) = limits.burst {
        if burst < 1.0 {
            return Err(given.error("burst", format!("must be at least 1, got {burst}")));
        }
        if limits.requests_per_second.is_none() && limits.requests_per_minute.is_none() {
            let error = format!("must be given with {path}.requestsPerSecond or {path}.requestsPerMinute");
            return Err(given.error("burst", error));
        }
    }
    // More at once, or in a second, than in a minute.
    if let Some(minute) = limits.requests_per_minute {
        let parts = [("burst", limits.burst), ("requestsPerSecond", limits.requests_per_second)];
        for (name, part) in parts {
            if let Some(part) = part.filter(|part| *part > minute.max(1.0)) {
                let error = format!("must not be above rateLimit.requestsPerMinute ({minute}), got {part}");
                return Err(given.error(name, error));
            }
        }
    }
    let rates = [
        ("requestsPerSecond", limits.requests_per_second, 1.0),
        ("requestsPerMinute", limits.requests_per_minute, 60.0),
    ];
    if let Some(gap) = limits.min_interval {
        let ms = gap.as_secs_f64() * 1000.0;
        for (name, rate, span) in rates {
            // With room for rounding: 3 a second and a third of a second are no contradiction.
            let Some(rate) = rate.filter(|rate| rate * gap.as_secs_f64() > span * (1.0 + 1e-6)) else {
                continue;
            };
            let most = span * 1000.0 / ms;
            let error = format!("must allow {path}.{name} ({rate}), and {ms} ms allow only {most:.3}");
            return Err(given.error("minInterval", error));
        }
    }
    if let Some(mut stock) = given.section("reservoir")? {
        let amount = stock.positive("amount")?;
        let interval = stock.duration("interval")?;
        let missing = |name| stock.error(name, "must be given");
        let amount = amount.ok_or_else(|| missing("amount"))?;
        let interval = interval.ok_or_else(|| missing("interval"))?;
        limits.reservoir =
            Some(Reservoir { amount: u64::try_from(amount.get()).unwrap_or(u64::MAX), interval });
        stock.finish()?;
    }
    if let Some(learn) = given.boolean("learn")? {
        limits.learn = learn;
    }
    if let Some(weights) = given.section("weights")? {
        limits.weights = parse_weights(weights)?;
    }
    given.finish()?;
    Ok(limits)
}

fn parse_weights(mut given: Section) -> Result<HashMap<String, f64>, Error> {
    let mut weights = HashMap::new();
    for (model, weight) in given.take_all() {
        let weight = given.above_zero(&model, &weight)?;
        weights.insert(model, weight);
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn parse(options: Value) -> Result<RateLimits, String> {
        let mut top = Section::top("options", json!({ "rateLimit": options })).unwrap();
        parse_rate(&mut top, &RateLimits::default()).map_err(|error| error.message.clone())
    }

    #[test]
    fn without_options_nothing_is_set_and_limits_are_learned() {
        let mut top = Section::top("options", json!({})).unwrap();
        assert_eq!(parse_rate(&mut top, &RateLimits::default()).unwrap(), RateLimits::default());
        assert_eq!(parse(json!({})).unwrap(), RateLimits::default());
        assert!(RateLimits::default().learn);
    }

    #[test]
    fn every_option_is_taken() {
        let limits = parse(json!({
            "requestsPerSecond": 2.5, "requestsPerMinute": 100, "tokensPerMinute": 1e6, "minInterval": 400,
            "burst": 5, "reservoir": { "amount": 50, "interval": 60_000 }, "learn": false,
            "weights": { "gpt-large": 3, "gpt-small": 0.5 },
        }));
        let weights = [("gpt-large".to_owned(), 3.0), ("gpt-small".to_owned(), 0.5)];
        let expected = RateLimits {
            requests_per_second: Some(2.5),
            requests_per_minute: Some(100.0),
            tokens_per_minute: Some(1e6),
            min_interval: Some(Duration::from_millis(400)),
            burst: Some(5.0),
            reservoir: Some(Reservoir { amount: 50, interval: Duration::from_secs(60) }),
            learn: false,
            weights: weights.into(),
        };
        assert_eq!(limits.unwrap(), expected);
        assert!(parse(json!({ "requestsPerSecond": 3, "minInterval": 333.333_333_4 })).is_ok());
        // Less than one a minute still lets one go.
        assert!(parse(json!({ "requestsPerMinute": 0.5, "burst": 1 })).is_ok());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_path() {
        let nan = json!({ "\u{0}kind": "NaN" });
        let table = [
            (json!({ "requestsPerSecond": 0 }), "requestsPerSecond: must be a number above 0, got 0"),
            (json!({ "requestsPerMinute": -1 }), "requestsPerMinute: must be a number above 0, got -1"),
            (json!({ "tokensPerMinute": nan }), "tokensPerMinute: must be a number above 0, got NaN"),
            (json!({ "tokensPerMinute": "9" }), "tokensPerMinute: must be a number above 0, got a string"),
            (json!({ "minInterval": 0 }), "minInterval: must be a positive number of milliseconds, got 0"),
            (json!({ "requestsPerSecond": 1, "burst": 0.5 }), "burst: must be at least 1, got 0.5"),
            (
                json!({ "tokensPerMinute": 9, "burst": 2 }),
                "burst: must be given with rateLimit.requestsPerSecond or rateLimit.requestsPerMinute",
            ),
            (
                json!({ "requestsPerMinute": 50, "burst": 51 }),
                "burst: must not be above rateLimit.requestsPerMinute (50), got 51",
            ),
            (
                json!({ "requestsPerMinute": 5, "requestsPerSecond": 10 }),
                "requestsPerSecond: must not be above rateLimit.requestsPerMinute (5), got 10",
            ),
            (json!({ "requestsPerSecond": 1, "burst": 0 }), "burst: must be a number above 0, got 0"),
            (json!({ "weights": { "m": -1 } }), "weights.m: must be a number above 0, got -1"),
            (
                json!({ "requestsPerSecond": 20, "minInterval": 100 }),
                "minInterval: must allow rateLimit.requestsPerSecond (20), and 100 ms allow only 10.000",
            ),
            (
                json!({ "requestsPerMinute": 61, "minInterval": 1000 }),
                "minInterval: must allow rateLimit.requestsPerMinute (61), and 1000 ms allow only 60.000",
            ),
            (
                json!({ "reservoir": { "amount": 0, "interval": 1 } }),
                "reservoir.amount: must be a positive integer, got 0",
            ),
            (json!({ "reservoir": { "amount": 1 } }), "reservoir.interval: must be given"),
            (json!({ "reservoir": { "interval": 1 } }), "reservoir.amount: must be given"),
            (json!({ "reservoir": 5 }), "reservoir: must be an object, got a number (5)"),
            (json!({ "weights": { "m": 0 } }), "weights.m: must be a number above 0, got 0"),
            (json!({ "weights": { "m": null } }), "weights.m: must be a number above 0, got null"),
            (json!({ "learn": 1 }), "learn: must be a boolean, got a number (1)"),
            (json!({ "bursts": 1 }), "bursts: is not an option; did you mean rateLimit.burst?"),
        ];
        for (options, message) in table {
            assert_eq!(parse(options).unwrap_err(), format!("rateLimit.{message}"));
        }
    }
}

//! The options of hedging.

use super::section::Section;
use crate::error::Error;
use crate::policy::hedge::{HedgeDelay, HedgePolicy};

/// `hedge`: off unless given.
pub(super) fn parse_hedge(top: &mut Section) -> Result<Option<HedgePolicy>, Error> {
    if top.take_false("hedge") {
        return Ok(None);
    }
    let Some(mut given) = top.section("hedge")? else {
        return Ok(None);
    };
    let mut hedge = HedgePolicy::after(HedgeDelay::P95);
    if let Some(max) = given.positive("maxHedges")? {
        hedge.max_hedges = u32::try_from(max.get()).unwrap_or(u32::MAX);
    }
    if let Some(budget) =
        given.number("budget", "above 0 and at most 1", |budget| budget > 0.0 && budget <= 1.0)?
    {
        hedge.budget = budget;
    }
    let wanted = "a positive number of milliseconds, or 'p95'";
    hedge.delay = if given.take_word("delay", "p95") {
        HedgeDelay::P95
    } else {
        let delay = given.milliseconds("delay", wanted, |ms| ms > 0.0)?;
        HedgeDelay::Fixed(delay.ok_or_else(|| given.error("delay", format!("must be given: {wanted}")))?)
    };
    given.finish()?;
    Ok(Some(hedge))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn hedge(options: Value) -> Result<Option<HedgePolicy>, String> {
        let mut top = Section::top("options", options).unwrap();
        let hedge = parse_hedge(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(hedge)
    }

    #[test]
    fn hedging_is_off_unless_given() {
        assert_eq!(hedge(json!({})), Ok(None));
        assert_eq!(hedge(json!({"hedge": false})), Ok(None));
    }

    #[test]
    fn a_delay_is_a_time_or_the_percentile() {
        let p95 = HedgePolicy { delay: HedgeDelay::P95, max_hedges: 1, budget: 0.05 };
        assert_eq!(hedge(json!({"hedge": {"delay": "p95"}})), Ok(Some(p95)));
        let all = json!({"hedge": {"delay": 250, "maxHedges": 2, "budget": 1}});
        let delay = HedgeDelay::Fixed(Duration::from_millis(250));
        assert_eq!(hedge(all), Ok(Some(HedgePolicy { delay, max_hedges: 2, budget: 1.0 })));
    }

    #[test]
    fn mistakes_name_the_path() {
        let delay = "hedge.delay: must be a positive number of milliseconds, or 'p95', got";
        let budget = "hedge.budget: must be above 0 and at most 1, got";
        let table = [
            (json!(true), "hedge: must be an object, got a boolean".to_owned()),
            (json!({}), "hedge.delay: must be given: a positive number of milliseconds, or 'p95'".to_owned()),
            (json!({"delay": 0}), format!("{delay} 0")),
            (json!({"delay": "p99"}), format!("{delay} a string")),
            (json!({"delay": {"\u{0}kind": "NaN"}}), format!("{delay} NaN")),
            (
                json!({"delay": 1, "maxHedges": 0}),
                "hedge.maxHedges: must be a positive integer, got 0".to_owned(),
            ),
            (json!({"delay": 1, "budget": 0}), format!("{budget} 0")),
            (json!({"delay": 1, "budget": 1.5}), format!("{budget} 1.5")),
            (
                json!({"delay": 1, "maxHedge": 1}),
                "hedge.maxHedge: is not an option; did you mean hedge.maxHedges?".to_owned(),
            ),
        ];
        for (given, message) in table {
            assert_eq!(hedge(json!({ "hedge": given })), Err(message));
        }
    }
}

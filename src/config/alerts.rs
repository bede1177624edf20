//! The options of alerts.

use std::time::Duration;

use super::section::Section;
use crate::error::Error;
use crate::policy::alerts::AlertPolicy;

/// A shorter window is a mistake of unit.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// `alerts`: off unless given; `{}` asks for the defaults, and `false` leaves one of them out.
pub(super) fn parse_alerts(top: &mut Section) -> Result<Option<AlertPolicy>, Error> {
    if top.take_false("alerts") {
        return Ok(None);
    }
    let Some(mut given) = top.section("alerts")? else {
        return Ok(None);
    };
    let mut alerts = AlertPolicy::default();
    let rates = [("errorRate", &mut alerts.error_rate), ("retryRate", &mut alerts.retry_rate)];
    for (name, field) in rates {
        let wanted = "a number of 0 or more and below 1, or false";
        if given.take_false(name) {
            *field = None;
        } else if let Some(rate) = given.number(name, wanted, |rate| (0.0..1.0).contains(&rate))? {
            *field = Some(rate);
        }
    }
    if given.take_false("p99") {
        alerts.p99 = None;
    } else if let Some(time) =
        given.milliseconds("p99", "a positive number of milliseconds, or false", |ms| ms > 0.0)?
    {
        alerts.p99 = Some(time);
    }
    if let Some(window) = given.duration("window")? {
        if window < SHORTEST_WINDOW {
            let ms = window.as_secs_f64() * 1000.0;
            let error = format!("must be at least {} ms, got {ms}", SHORTEST_WINDOW.as_millis());
            return Err(given.error("window", error));
        }
        alerts.window = window;
    }
    given.finish()?;
    Ok(Some(alerts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn alerts(options: Value) -> Result<Option<AlertPolicy>, String> {
        let mut top = Section::top("options", options).unwrap();
        let alerts = parse_alerts(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(alerts)
    }

    #[test]
    fn alerts_are_off_unless_asked_for() {
        assert_eq!(alerts(json!({})), Ok(None));
        assert_eq!(alerts(json!({"alerts": false})), Ok(None));
        assert_eq!(alerts(json!({"alerts": {}})), Ok(Some(AlertPolicy::default())));
    }

    #[test]
    fn each_is_set_or_left_out() {
        let given = json!({"alerts": {"errorRate": 0, "retryRate": false, "p99": 2000, "window": 10_000}});
        let wanted = AlertPolicy {
            error_rate: Some(0.0),
            retry_rate: None,
            p99: Some(Duration::from_secs(2)),
            window: Duration::from_secs(10),
        };
        assert_eq!(alerts(given), Ok(Some(wanted)));
        assert_eq!(alerts(json!({"alerts": {"p99": false}})).unwrap().unwrap().p99, None);
    }

    #[test]
    fn mistakes_name_the_path() {
        let table = [
            (json!(true), "alerts: must be an object, got a boolean"),
            (
                json!({"errorRate": 1}),
                "alerts.errorRate: must be a number of 0 or more and below 1, or false, got 1",
            ),
            (
                json!({"retryRate": -0.5}),
                "alerts.retryRate: must be a number of 0 or more and below 1, or false, got -0.5",
            ),
            (
                json!({"errorRate": true}),
                "alerts.errorRate: must be a number of 0 or more and below 1, or false, got a boolean",
            ),
            (json!({"p99": 0}), "alerts.p99: must be a positive number of milliseconds, or false, got 0"),
            (json!({"window": 60}), "alerts.window: must be at least 1000 ms, got 60"),
            (json!({"errorRates": 1}), "alerts.errorRates: is not an option; did you mean alerts.errorRate?"),
        ];
        for (given, message) in table {
            assert_eq!(alerts(json!({ "alerts": given })), Err(message.to_owned()));
        }
    }
}

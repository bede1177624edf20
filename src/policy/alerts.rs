//! Whether calls fail, are repeated, or take longer than they may, over a rolling window.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// What is watched. `None` is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlertPolicy {
    /// Failed calls ÷ calls. Default 0.01.
    pub error_rate: Option<f64>,
    /// Retries ÷ calls. Default 0.03.
    pub retry_rate: Option<f64>,
    /// What 99 of 100 calls take at most, from a call's start to its end, failed ones included. Default 500 ms.
    pub p99: Option<Duration>,
    /// Default 60 s.
    pub window: Duration,
}

impl Default for AlertPolicy {
    fn default() -> Self {
        Self {
            error_rate: Some(0.01),
            retry_rate: Some(0.03),
            p99: Some(Duration::from_millis(500)),
            window: Duration::from_secs(60),
        }
    }
}

/// A threshold was crossed, as the event `alert` has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alert {
    pub name: AlertName,
    pub state: AlertState,
    /// Of the window: a share, or for `p99` milliseconds.
    pub value: f64,
    /// In the same.
    pub threshold: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AlertName {
    ErrorRate,
    RetryRate,
    P99,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AlertState {
    Raised,
    Cleared,
}

/// The calls of the last window, and which alerts are raised.
///
/// The window is made of [`SPANS`] spans, of which the oldest goes as a whole: it covers nine to ten tenths of what it
/// says. An alert is raised when its value is above its threshold, with at least [`FEWEST`] calls in the window. It is
/// cleared when each [`check`](Self::check) of a whole span found the value at the threshold or below, however few the
/// calls; a window without calls clears at once. So a value that swings about its threshold is one alert, not many.
///
/// Takes about 130 KB if `p99` is watched.
#[derive(Debug)]
pub struct Alerts {
    policy: AlertPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the first span began.
    origin: Option<Instant>,
    spans: [Span; SPANS],
    watches: [Watch; 3],
}

/// The calls of one tenth of a window.
#[derive(Clone, Debug, Default)]
struct Span {
    /// The how manieth since the origin.
    number: u64,
    calls: u64,
    failed: u64,
    retries: u64,
    /// Calls that took longer than the threshold.
    slow: u64,
    /// Microseconds. Made when first needed, and only if the percentile is watched.
    times: Option<Histogram<u32>>,
}

/// The sums of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    failed: u64,
    retries: u64,
    slow: u64,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    name: AlertName,
    raised: bool,
    /// Since when a raised alert's value is no longer above its threshold.
    calm_since: Option<Instant>,
}

pub const SPANS: usize = 10;
/// Calls below which a share says nothing.
pub const FEWEST: u64 = 20;
const HOUR_IN_MICROS: u64 = 3_600_000_000;

impl Alerts {
    pub fn new(policy: AlertPolicy) -> Self {
        let watch = |name| Watch { name, raised: false, calm_since: None };
        let watches = [AlertName::ErrorRate, AlertName::RetryRate, AlertName::P99].map(watch);
        let state = State { origin: None, spans: Default::default(), watches };
        Self { policy, state: Mutex::new(state) }
    }

    /// A call has ended, other than by its caller's abort. A short lock, a few sums.
    pub fn record(&self, ok: bool, retries: u32, latency: Duration, now: Instant) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        let number = state.number(now, self.span());
        let Some(span) = state.span(number) else { return };
        span.calls += 1;
        span.failed += u64::from(!ok);
        span.retries += u64::from(retries);
        if let Some(limit) = self.policy.p99 {
            span.slow += u64::from(u128::from(micros) > limit.as_micros());
            span.times.get_or_insert_with(times).saturating_record(micros);
        }
    }

    /// What was raised or cleared since the last time. To be asked at least once for each tenth of the window, so each
    /// second or so; only a change of `p99` looks through the histograms.
    pub fn check(&self, now: Instant) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let mut state = self.state.lock();
        let State { spans, watches, .. } = {
            let number = state.number(now, self.span());
            state.forget(number);
            &mut *state
        };
        let sums = Sums::of(spans);
        for watch in watches {
            let Some((above, threshold)) = self.judge(watch.name, &sums) else { continue };
            if let Some(change) = watch.turn(above, &sums, self.span(), now) {
                let value = match watch.name {
                    AlertName::ErrorRate => share(sums.failed, sums.calls),
                    AlertName::RetryRate => share(sums.retries, sums.calls),
                    // The histogram rounds up, which must not put a value on the wrong side of its threshold.
                    AlertName::P99 if above => p99(spans),
                    AlertName::P99 => p99(spans).min(threshold),
                };
                alerts.push(Alert { name: watch.name, state: change, value, threshold });
            }
        }
        alerts
    }

    fn span(&self) -> Duration {
        (self.policy.window / SPANS as u32).max(Duration::from_millis(1))
    }

    /// Whether the value is above its threshold, and the threshold; `None` for what is not watched.
    fn judge(&self, name: AlertName, sums: &Sums) -> Option<(bool, f64)> {
        let rate = |count: u64, threshold: f64| (share(count, sums.calls) > threshold, threshold);
        match name {
            AlertName::ErrorRate => self.policy.error_rate.map(|threshold| rate(sums.failed, threshold)),
            AlertName::RetryRate => self.policy.retry_rate.map(|threshold| rate(sums.retries, threshold)),
            // By nearest rank: the percentile is above what more than one call of a hundred is above.
            AlertName::P99 => {
                self.policy.p99.map(|limit| (sums.slow > sums.calls / 100, limit.as_secs_f64() * 1000.0))
            }
        }
    }
}

impl State {
    fn number(&mut self, now: Instant, span: Duration) -> u64 {
        let age = now.saturating_duration_since(*self.origin.get_or_insert(now));
        u64::try_from(age.as_nanos() / span.as_nanos().max(1)).unwrap_or(u64::MAX)
    }

    /// The span of this number; `None` where a later one has its place, as the clock went back.
    fn span(&mut self, number: u64) -> Option<&mut Span> {
        let span = self.spans.get_mut((number % SPANS as u64) as usize)?;
        if span.number < number {
            span.restart(number);
        }
        (span.number == number).then_some(span)
    }

    /// Spans that have left the window that ends with this one.
    fn forget(&mut self, number: u64) {
        for span in &mut self.spans {
            if span.calls > 0 && number.saturating_sub(span.number) >= SPANS as u64 {
                span.restart(span.number);
            }
        }
    }
}

impl Span {
    fn restart(&mut self, number: u64) {
        let mut times = self.times.take();
        if let Some(times) = times.as_mut().filter(|_| self.calls > 0) {
            times.reset();
        }
        *self = Self { number, times, ..Self::default() };
    }
}

impl Sums {
    fn of(spans: &[Span]) -> Self {
        spans.iter().fold(Self::default(), |sums, span| Self {
            calls: sums.calls + span.calls,
            failed: sums.failed + span.failed,
            retries: sums.retries + span.retries,
            slow: sums.slow + span.slow,
        })
    }
}

impl Watch {
    fn turn(&mut self, above: bool, sums: &Sums, span: Duration, now: Instant) -> Option<AlertState> {
        if !self.raised {
            self.raised = above && sums.calls >= FEWEST;
            return self.raised.then_some(AlertState::Raised);
        }
        if above {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if sums.calls > 0 && now.saturating_duration_since(since) < span {
            return None;
        }
        *self = Self { name: self.name, raised: false, calm_since: None };
        Some(AlertState::Cleared)
    }
}

fn share(count: u64, calls: u64) -> f64 {
    if calls == 0 { 0.0 } else { count as f64 / calls as f64 }
}

/// In milliseconds, 0 without calls.
fn p99(spans: &[Span]) -> f64 {
    let mut all = times();
    for times in spans.iter().filter(|span| span.calls > 0).filter_map(|span| span.times.as_ref()) {
        // All have the same bounds, so this cannot fail.
        let _ = all.add(times);
    }
    if all.is_empty() { 0.0 } else { all.value_at_quantile(0.99) as f64 / 1000.0 }
}

fn times() -> Histogram<u32> {
    #[expect(clippy::expect_used, reason = "the bounds are constants that hdrhistogram accepts")]
    Histogram::new_with_max(HOUR_IN_MICROS, 2).expect("constant bounds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    struct Line {
        alerts: Alerts,
        now: Instant,
    }

    impl Line {
        fn new(policy: AlertPolicy) -> Self {
            Self { alerts: Alerts::new(policy), now: Instant::now() }
        }

        fn calls(&self, n: u32, ok: bool) -> &Self {
            (0..n).for_each(|_| self.alerts.record(ok, 0, MS, self.now));
            self
        }

        /// What changed, as names and whether it was raised.
        fn check(&self) -> Vec<(AlertName, bool)> {
            let alerts = self.alerts.check(self.now);
            alerts.iter().map(|alert| (alert.name, alert.state == AlertState::Raised)).collect()
        }
    }

    fn line() -> Line {
        Line::new(AlertPolicy::default())
    }

    #[test]
    fn without_calls_there_is_no_alert() {
        let mut line = line();
        for _ in 0..100 {
            assert_eq!(line.check(), []);
            line.now += SECOND;
        }
    }

    #[test]
    fn fewer_than_twenty_calls_raise_nothing() {
        let line = line();
        assert_eq!(line.calls(19, false).check(), []);
        assert_eq!(line.calls(1, true).check(), [(AlertName::ErrorRate, true)]);
        assert_eq!(line.check(), []);
    }

    #[test]
    fn a_value_at_its_threshold_is_not_above_it() {
        let line = line();
        assert_eq!(line.calls(99, true).calls(1, false).check(), []);
        assert_eq!(line.calls(1, false).check(), [(AlertName::ErrorRate, true)]);
    }

    #[test]
    fn retries_are_counted_by_call() {
        let line = line();
        line.calls(99, true).alerts.record(true, 3, MS, line.now);
        assert_eq!(line.check(), []);
        line.alerts.record(true, 1, MS, line.now);
        assert_eq!(line.check(), [(AlertName::RetryRate, true)]);
    }

    #[test]
    fn the_percentile_is_raised_by_more_than_one_of_a_hundred_and_says_its_value() {
        let mut line = line();
        line.calls(198, true);
        let slow = |line: &Line| line.alerts.record(true, 0, 501 * MS, line.now);
        slow(&line);
        slow(&line);
        assert_eq!(line.check(), []);
        slow(&line);
        let raised = line.alerts.check(line.now);
        assert_eq!((raised[0].name, raised[0].state), (AlertName::P99, AlertState::Raised));
        assert!(raised[0].value > 500.0 && raised[0].value < 506.0, "{raised:?}");
        assert_eq!(raised[0].threshold, 500.0);
        line.calls(300, true).check();
        line.now += 6 * SECOND;
        let cleared = line.alerts.check(line.now);
        assert_eq!(cleared[0].state, AlertState::Cleared);
        assert!(cleared[0].value < 2.0, "{cleared:?}");
    }

    #[test]
    fn it_clears_after_a_whole_span_below_and_not_before() {
        let mut line = line();
        assert_eq!(line.calls(20, false).check(), [(AlertName::ErrorRate, true)]);
        line.calls(1980, true);
        assert_eq!(line.check(), []);
        line.now += 6 * SECOND - MS;
        assert_eq!(line.check(), []);
        // Above once more: the span begins anew.
        line.calls(1, false);
        assert_eq!(line.check(), []);
        line.calls(100, true);
        line.now += MS;
        assert_eq!(line.check(), []);
        line.now += 6 * SECOND;
        assert_eq!(line.check(), [(AlertName::ErrorRate, false)]);
    }

    #[test]
    fn a_window_that_has_emptied_clears_at_once() {
        let mut line = line();
        assert_eq!(line.calls(20, false).check(), [(AlertName::ErrorRate, true)]);
        line.now += 59 * SECOND;
        assert_eq!(line.check(), []);
        line.now += SECOND;
        assert_eq!(line.check(), [(AlertName::ErrorRate, false)]);
        assert_eq!(line.check(), []);
    }

    #[test]
    fn what_is_not_watched_raises_nothing() {
        let policy = AlertPolicy { error_rate: None, retry_rate: None, p99: None, ..AlertPolicy::default() };
        let line = Line::new(policy);
        (0..100).for_each(|_| line.alerts.record(false, 9, 90 * SECOND, line.now));
        assert_eq!(line.check(), []);
    }

    #[test]
    fn an_alert_is_the_json_of_the_contract() {
        let line = line();
        (0..20).for_each(|_| line.alerts.record(false, 1, 900 * SECOND, line.now));
        let mut alerts = serde_json::to_value(line.alerts.check(line.now)).unwrap();
        assert!(alerts[2]["value"].as_f64().unwrap() >= 900_000.0);
        let alert = |name, value, threshold| json!({"name": name, "state": "raised", "value": value, "threshold": threshold});
        let wanted =
            json!([alert("errorRate", 1.0, 0.01), alert("retryRate", 1.0, 0.03), alert("p99", 0.0, 500.0)]);
        alerts[2]["value"] = json!(0.0);
        assert_eq!(alerts, wanted);
    }
}

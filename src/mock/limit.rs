//! The rate limit: two token buckets, and how a provider tells of them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};

use super::options::RateLimit;

#[derive(Debug)]
pub(super) struct Limit {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    level: f64,
    per_second: f64,
    filled: Instant,
}

/// How full the buckets are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Levels {
    requests: Option<Level>,
    tokens: Option<Level>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    capacity: f64,
    level: f64,
    /// Until it is full again.
    full: Duration,
}

type Fields = Vec<(HeaderName, HeaderValue)>;

impl Limit {
    pub(super) fn new(options: &RateLimit, now: Instant) -> Option<Self> {
        let bucket =
            |capacity: f64, per_second| Bucket { capacity, level: capacity, per_second, filled: now };
        let requests =
            options.requests_per_second.map(|rate| bucket(options.burst.unwrap_or(rate).max(1.0), rate));
        let tokens = options.tokens_per_minute.map(|rate| bucket(rate, rate / 60.0));
        (requests.is_some() || tokens.is_some()).then_some(Self { requests, tokens })
    }

    /// Lets a request of so many tokens in; or not, and then it is told when to come back.
    pub(super) fn admit(&mut self, tokens: u64, now: Instant) -> Result<Levels, (Levels, Duration)> {
        #[expect(clippy::cast_precision_loss, reason = "no prompt has 2^52 tokens")]
        let tokens = tokens as f64;
        let mut wait = Duration::ZERO;
        for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                wait = wait.max(bucket.wait(amount, now));
            }
        }
        if wait.is_zero() {
            for (bucket, amount) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
                if let Some(bucket) = bucket {
                    bucket.level -= amount.min(bucket.capacity);
                }
            }
            return Ok(self.levels());
        }
        // Rounded up, for a client that comes back a moment too early is turned away again.
        let ms = u64::try_from(wait.as_millis() + 1).unwrap_or(u64::MAX);
        Err((self.levels(), Duration::from_millis(ms)))
    }

    fn levels(&self) -> Levels {
        let level = |bucket: &Bucket| Level {
            capacity: bucket.capacity,
            level: bucket.level,
            full: Duration::try_from_secs_f64((bucket.capacity - bucket.level) / bucket.per_second)
                .unwrap_or_default(),
        };
        Levels { requests: self.requests.as_ref().map(level), tokens: self.tokens.as_ref().map(level) }
    }
}

impl Levels {
    /// `x-ratelimit-…`, and the time to wait in milliseconds and in seconds.
    pub(super) fn as_openai(&self, wait: Option<Duration>) -> Fields {
        let requests =
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
        let tokens = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
        let mut fields = self.told(requests, tokens, go_duration);
        if let Some(wait) = wait {
            fields.push((HeaderName::from_static("retry-after-ms"), number(wait.as_millis())));
            fields.push((HeaderName::from_static("retry-after"), number(wait.as_millis().div_ceil(1000))));
        }
        fields
    }

    /// `anthropic-ratelimit-…`, whose resets are moments, and the time to wait in seconds.
    pub(super) fn as_anthropic(&self, wait: Option<Duration>, now: SystemTime) -> Fields {
        let requests = [
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ];
        let tokens = [
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ];
        let mut fields = self.told(requests, tokens, |full| rfc3339(now + full));
        if let Some(wait) = wait {
            fields.push((HeaderName::from_static("retry-after"), number(wait.as_millis().div_ceil(1000))));
        }
        fields
    }

    fn told(
        &self,
        requests: [&'static str; 3],
        tokens: [&'static str; 3],
        reset: impl Fn(Duration) -> String,
    ) -> Fields {
        let mut fields = Vec::with_capacity(8);
        for (level, [limit, remaining, resets]) in [(self.requests, requests), (self.tokens, tokens)] {
            let Some(level) = level else { continue };
            fields.push((HeaderName::from_static(limit), number(level.capacity.floor())));
            fields.push((HeaderName::from_static(remaining), number(level.level.floor().max(0.0))));
            fields.push((HeaderName::from_static(resets), number(reset(level.full))));
        }
        fields
    }
}

impl Bucket {
    /// How long until it holds `amount`; one that is more than it can hold waits until it is full.
    fn wait(&mut self, amount: f64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_second).min(self.capacity);
        self.filled = now;
        let missing = amount.min(self.capacity) - self.level;
        // Less than a nanosecond's worth is an error of rounding.
        if missing <= self.per_second * 1e-9 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX)
    }
}

/// A duration as OpenAI writes it: `12ms`, `1.5s`, `6m0s`.
fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}s", f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0),
        _ => format!("{}m{}s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// A moment to the second, as Anthropic writes it; days are counted in years from March on, so that the leap day is
/// the last of its year.
pub(super) fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

fn number(value: impl ToString) -> HeaderValue {
    HeaderValue::try_from(value.to_string()).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_beyond_the_burst_is_told_when_to_come_back_and_is_let_in_then() {
        let start = Instant::now();
        let options = RateLimit { requests_per_second: Some(2.0), ..RateLimit::default() };
        let mut limit = Limit::new(&options, start).unwrap();
        assert!(limit.admit(1, start).is_ok() && limit.admit(1, start).is_ok());
        let (levels, wait) = limit.admit(1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(501));
        let told = |fields: Fields, name: &str| {
            fields.iter().find(|(own, _)| own == name).unwrap().1.to_str().unwrap().to_owned()
        };
        assert_eq!(told(levels.as_openai(Some(wait)), "retry-after-ms"), "501");
        let later = levels.as_anthropic(Some(wait), UNIX_EPOCH);
        assert_eq!(told(later.clone(), "retry-after"), "1");
        assert_eq!(told(later, "anthropic-ratelimit-requests-reset"), "1970-01-01T00:00:01Z");
        assert!(limit.admit(1, start + Duration::from_millis(499)).is_err());
        assert!(limit.admit(1, start + Duration::from_millis(501)).is_ok());
    }

    #[test]
    fn durations_are_written_as_openai_does() {
        let written = [12, 1500, 360_000].map(|ms| go_duration(Duration::from_millis(ms)));
        assert_eq!(written, ["12ms", "1.5s", "6m0s"]);
    }

    #[test]
    fn moments_are_written_as_anthropic_does() {
        let written = [0, 951_782_400, 1_767_225_599].map(|s| rfc3339(UNIX_EPOCH + Duration::from_secs(s)));
        assert_eq!(written, ["1970-01-01T00:00:00Z", "2000-02-29T00:00:00Z", "2025-12-31T23:59:59Z"]);
    }
}

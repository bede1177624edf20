//! What an answer's header fields say about the provider's limits. Parsing alone: what is made of it is in
//! [`super::rate`].
//!
//! - `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: OpenAI ("Rate limits in headers") and most that speak as
//!   it does. Reset is a duration as Go writes it (`1s`, `6m0s`, `20ms`), seconds, or a time since the epoch.
//! - `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`: Anthropic ("Rate
//!   limits: Response headers"). Reset is an RFC 3339 time.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

/// What one answer says. Nothing else than these two is limited by what a client can count beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    pub requests: Option<Sample>,
    /// All tokens where the provider says so, else those of prompt and answer together (which is what Anthropic
    /// means by its `tokens` too).
    pub tokens: Option<Sample>,
}

/// One limit as it stood when the server took the call in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What the server's bucket holds when full; above 0, at most 10¹⁵.
    pub limit: f64,
    /// What is left of it: from 0 to the limit.
    pub remaining: f64,
    /// In what time it is full again, at most a day. None where that is not said, or is nonsense.
    pub reset: Option<Reset>,
}

/// A time, and how exactly it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    pub after: Duration,
    /// A second or a millisecond.
    pub grain: Duration,
}

/// Longer resets are nonsense; the longest in use are those of daily limits.
const LONGEST_RESET: Duration = Duration::from_secs(24 * 60 * 60);
const LARGEST: f64 = 1e15;
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What the header fields say, or None where they say nothing of use. Where none is about limits this looks at the
/// first bytes of each name and no more. `now` is only for resets that are a point in time, and only where the answer
/// has no `date`: two readings of the server's clock do not differ by how wrong ours is.
pub fn learned(headers: &HeaderMap, now: impl Fn() -> SystemTime) -> Option<Learned> {
    let mut raw: Option<Raw> = None;
    for (name, value) in headers {
        let name = name.as_str();
        if let Some((kind, field)) = field_of(name) {
            // The first of two that contradict each other counts.
            raw.get_or_insert_default().0[kind][field].get_or_insert(value);
        }
    }
    let raw = raw?;
    let date = || {
        let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(&now)
    };
    let sample = |kind: usize| raw.sample(kind, date);
    let parts = || match (sample(INPUT), sample(OUTPUT)) {
        (Some(input), Some(output)) => Some(input.and(output)),
        (one, other) => one.or(other),
    };
    let learned = Learned { requests: sample(REQUESTS), tokens: sample(TOKENS).or_else(parts) };
    (learned != Learned::default()).then_some(learned)
}

/// A guess at the tokens of a call before it is sent. The prompt: four bytes of the body a token, OpenAI's rule of
/// thumb for English ("What are tokens and how to count them?"), which counts the JSON around the text too and so is
/// rather too high for it and too low for scripts of few bytes a token. The answer: `max_tokens` for each of `n`
/// choices, as providers count it against the limit; where it is not given, 256, about what a chat's answer has.
pub fn estimate_tokens(body_len: usize, max_tokens: Option<u64>, n: u64) -> u64 {
    let prompt = u64::try_from(body_len.div_ceil(4)).unwrap_or(u64::MAX);
    prompt.saturating_add(max_tokens.unwrap_or(256).saturating_mul(n.max(1)))
}

impl Sample {
    /// Two limits as one over both.
    fn and(self, other: Self) -> Self {
        let reset = match (self.reset, other.reset) {
            (Some(one), Some(two)) => {
                Some(Reset { after: one.after.max(two.after), grain: one.grain.max(two.grain) })
            }
            (one, two) => one.or(two),
        };
        Self { limit: self.limit + other.limit, remaining: self.remaining + other.remaining, reset }
    }
}

const REQUESTS: usize = 0;
const TOKENS: usize = 1;
const INPUT: usize = 2;
const OUTPUT: usize = 3;
const LIMIT: usize = 0;
const REMAINING: usize = 1;
const RESET: usize = 2;

/// By kind, then by field.
#[derive(Default)]
struct Raw<'a>([[Option<&'a HeaderValue>; 3]; 4]);

impl Raw<'_> {
    fn sample(&self, kind: usize, now: impl FnOnce() -> SystemTime) -> Option<Sample> {
        let text = |field: usize| self.0[kind][field]?.to_str().ok().map(str::trim);
        let amount = |field| number(text(field)?).filter(|number| *number <= LARGEST);
        let limit = amount(LIMIT).filter(|limit| *limit > 0.0)?;
        let remaining = amount(REMAINING)?.min(limit);
        Some(Sample { limit, remaining, reset: text(RESET).and_then(|text| reset(text, now)) })
    }
}

/// The kind and the field of a header's name.
fn field_of(name: &str) -> Option<(usize, usize)> {
    let field = |name: &str| match name {
        "limit" => Some(LIMIT),
        "remaining" => Some(REMAINING),
        "reset" => Some(RESET),
        _ => None,
    };
    match name.as_bytes().first()? {
        b'x' => {
            let (name, kind) = name.strip_prefix("x-ratelimit-")?.split_once('-')?;
            let kind = match kind {
                "requests" => REQUESTS,
                "tokens" => TOKENS,
                _ => return None,
            };
            Some((kind, field(name)?))
        }
        b'a' => {
            let (kind, name) = name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')?;
            let kind = match kind {
                "requests" => REQUESTS,
                "tokens" => TOKENS,
                "input-tokens" => INPUT,
                "output-tokens" => OUTPUT,
                _ => return None,
            };
            Some((kind, field(name)?))
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

fn reset(text: &str, now: impl FnOnce() -> SystemTime) -> Option<Reset> {
    let fraction = |is_fine| if is_fine { MILLISECOND } else { SECOND };
    let until = |since_epoch: Duration, now: SystemTime| {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(now)
    };
    let is_fine = text.contains('.');
    let (after, grain) = if let Some(number) = number(text) {
        // 10⁹ s after the epoch was in 2001, 10¹¹ ms in 1973; as a duration the one is 31 years.
        if number >= 1e11 {
            (until(Duration::try_from_secs_f64(number / 1000.0).ok()?, now()), MILLISECOND)
        } else if number >= 1e9 {
            (until(Duration::try_from_secs_f64(number).ok()?, now()), fraction(is_fine))
        } else {
            (Duration::try_from_secs_f64(number).ok()?, fraction(is_fine))
        }
    } else if let Some(after) = go_duration(text) {
        (after, fraction(is_fine || after.subsec_nanos() != 0 || text.ends_with("ms")))
    } else {
        (until(rfc3339(text)?, now()), fraction(is_fine))
    };
    (after <= LONGEST_RESET).then_some(Reset { after, grain })
}

/// A duration as Go's `time.Duration` writes itself: numbers, each with its unit.
fn go_duration(mut text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, rest) = text.split_at(digits);
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        text = rest;
    }
    // To the microsecond, so that the sum of decimals is no finer than what was written.
    let micros = (seconds * 1e6).round();
    (micros < 1e18).then(|| Duration::from_micros(micros as u64))
}

/// A time of RFC 3339 §5.6 as the time since the epoch, `2026-01-02T03:04:05.6Z` or with an offset.
fn rfc3339(text: &str) -> Option<Duration> {
    let bytes = text.as_bytes();
    let digits = |from: usize, len: usize| {
        let part = bytes.get(from..from.checked_add(len)?)?;
        part.iter()
            .try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let separators: [(usize, &[u8]); 5] = [(4, b"-"), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")];
    if !separators.iter().all(|(at, wanted)| is(*at, wanted)) {
        return None;
    }
    let [year, month, day] = [digits(0, 4)?, digits(5, 2)?, digits(8, 2)?];
    let [hour, minute, second] = [digits(11, 2)?, digits(14, 2)?, digits(17, 2)?];
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A second of 60 is a leap second.
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b".") {
        let len = bytes.get(at + 1..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let shown = len.min(9);
        nanos = digits(at + 1, shown).filter(|_| len > 0)? * 10_i64.pow(9 - u32::try_from(shown).ok()?);
        at += 1 + len;
    }
    let offset = if is(at, b"Zz") {
        at += 1;
        0
    } else {
        let sign = if is(at, b"+") { 1 } else { -1 };
        let (hours, minutes) = (digits(at + 1, 2)?, digits(at + 4, 2)?);
        if !is(at, b"+-") || !is(at + 3, b":") || hours > 23 || minutes > 59 {
            return None;
        }
        at += 6;
        sign * (hours * 60 + minutes) * 60
    };
    if at != bytes.len() {
        return None;
    }
    // Days since the epoch, with years that begin in March (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = day * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_323_045; // 2026-01-02T03:04:05Z

    fn of(fields: &[(&'static str, &str)]) -> Option<Learned> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        learned(&headers, || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn reset_of(text: &str) -> Option<(u128, u128)> {
        let reset = reset(text, || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))?;
        Some((reset.after.as_millis(), reset.grain.as_millis()))
    }

    fn sample(limit: f64, remaining: f64, ms: u64, grain: Duration) -> Option<Sample> {
        let reset = Some(Reset { after: Duration::from_millis(ms), grain });
        Some(Sample { limit, remaining, reset })
    }

    #[test]
    fn the_fields_of_openai_and_of_anthropic_are_understood() {
        let openai = of(&[
            ("content-type", "application/json"),
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-request-id", "a"),
        ]);
        let tokens = sample(150_000.0, 149_984.0, 360_000, SECOND);
        assert_eq!(openai, Some(Learned { requests: sample(60.0, 59.0, 1000, SECOND), tokens }));
        let anthropic = of(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "40"),
            ("anthropic-ratelimit-requests-reset", "2026-01-02T03:04:17Z"),
            ("anthropic-ratelimit-input-tokens-limit", "40000"),
            ("anthropic-ratelimit-input-tokens-remaining", "30000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-01-02T03:04:20Z"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
            ("anthropic-ratelimit-output-tokens-remaining", "7000"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-01-02T03:04:13Z"),
        ]);
        let requests = sample(50.0, 40.0, 12_000, SECOND);
        assert_eq!(anthropic, Some(Learned { requests, tokens: sample(48_000.0, 37_000.0, 15_000, SECOND) }));
    }

    #[test]
    fn a_reset_is_understood_in_each_of_its_forms() {
        let table = [
            ("1s", 1000, 1000),
            ("20ms", 20, 1),
            ("0ms", 0, 1),
            ("400µs", 0, 1),
            ("6m0s", 360_000, 1000),
            ("1h2m3.5s", 3_723_500, 1),
            ("12", 12_000, 1000),
            ("0.25", 250, 1),
            ("0", 0, 1000),
            ("1767323050", 5000, 1000),
            ("1767323045250", 250, 1),
            ("1767323000", 0, 1000),
            ("2026-01-02T03:04:10Z", 5000, 1000),
            ("2026-01-02t03:04:10.5z", 5500, 1),
            ("2026-01-02T04:04:10+01:00", 5000, 1000),
            ("2026-01-01T22:04:10-05:00", 5000, 1000),
            ("1999-12-31T23:59:60Z", 0, 1000),
        ];
        for (text, ms, grain) in table {
            assert_eq!(reset_of(text), Some((ms, grain)), "{text}");
        }
        assert_eq!(rfc3339("2000-02-29T00:00:00Z"), Some(Duration::from_secs(951_782_400)));
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_as_if_nothing_was_said() {
        let resets = [
            "",
            "-1",
            "NaN",
            "inf",
            "soon",
            "s",
            "1x",
            "1s2",
            "..s",
            "9e300",
            "8760h",
            "31536000",
            "ms",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-02T03:04:05",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05+1:00",
            "2026-01-02T03:04:05.Z",
            "2027-01-02T03:04:05Z",
            "2026-01-02",
            "µ",
            "2026-01-02T03:04:05Zx",
            "99999999999999999999999999s",
        ];
        for text in resets {
            assert_eq!(reset_of(text), None, "{text}");
        }
        for bad in ["-5", "NaN", "inf", "", "many", "1e300"] {
            let fields = [("x-ratelimit-limit-requests", bad), ("x-ratelimit-remaining-requests", "5")];
            assert_eq!(of(&fields), None, "{bad}");
        }
        assert_eq!(of(&[("x-ratelimit-limit-requests", "0"), ("x-ratelimit-remaining-requests", "0")]), None);
        assert_eq!(of(&[("x-ratelimit-limit-requests", "5")]), None);
        assert_eq!(of(&[("x-ratelimit-limit-monkeys", "5"), ("x-rate", "1"), ("accept", "1")]), None);
    }

    #[test]
    fn more_left_than_the_limit_is_the_limit_and_the_first_of_two_counts() {
        let fields = [
            ("x-ratelimit-limit-tokens", "10"),
            ("x-ratelimit-limit-tokens", "99"),
            ("x-ratelimit-remaining-tokens", "11"),
        ];
        let tokens = Some(Sample { limit: 10.0, remaining: 10.0, reset: None });
        assert_eq!(of(&fields), Some(Learned { requests: None, tokens }));
    }

    #[test]
    fn a_point_in_time_is_read_by_the_servers_clock() {
        let fields = [
            ("date", "Fri, 02 Jan 2026 03:14:05 GMT"),
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-01-02T03:14:07Z"),
        ];
        assert_eq!(of(&fields).unwrap().requests, sample(50.0, 49.0, 2000, SECOND));
    }

    #[test]
    fn an_estimate_counts_prompt_and_answers_and_never_overflows() {
        assert_eq!(estimate_tokens(400, None, 1), 356);
        assert_eq!(estimate_tokens(401, Some(1000), 2), 2101);
        assert_eq!(estimate_tokens(0, Some(7), 0), 7);
        assert_eq!(estimate_tokens(usize::MAX, Some(u64::MAX), u64::MAX), u64::MAX);
    }
}

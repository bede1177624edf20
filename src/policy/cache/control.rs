//! What a caller says of the cache: the directives of a request's `Cache-Control`, as RFC 9111, section 5.2.1, has them. `max-stale` and
//! `no-transform` ask for nothing here: nothing stale is kept, and nothing transformed.

use std::time::Duration;

/// The directives of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Control {
    /// The answer is not kept, and nobody else's is taken.
    pub no_store: bool,
    /// No answer is taken that is there already; this one is kept.
    pub no_cache: bool,
    /// An answer that is older is not taken.
    pub max_age: Option<Duration>,
    /// Nor one that is kept for less than this.
    pub min_fresh: Option<Duration>,
    /// An answer that is kept, or none.
    pub only_if_cached: bool,
}

/// Of delta-seconds a cache may take so many for more, says section 1.2.2: 68 years.
const MOST_SECONDS: u64 = 1 << 31;

impl Control {
    /// Reads directives of which each is known.
    ///
    /// # Errors
    /// The first that is not, or has no number where it needs one.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let mut control = Self::default();
        match directives(text).find(|directive| !control.obey(directive)) {
            Some(unknown) => Err(unknown),
            None => Ok(control),
        }
    }

    /// Reads a header. What is not known is passed over, and an age that is none is taken for the least, as sections 5.2.3 and 4.2.1 have it.
    pub fn of_header(text: &str) -> Self {
        let mut control = Self::default();
        for directive in directives(text) {
            let is_understood = control.obey(directive);
            let name = directive.split('=').next().unwrap_or_default().trim();
            let is_age = ["max-age", "min-fresh"].iter().any(|age| age.eq_ignore_ascii_case(name));
            control.no_cache |= is_age && !is_understood;
        }
        control
    }

    /// Whether an answer will do that is this old, and kept for so long yet.
    pub fn takes(&self, age: Duration, left: Duration) -> bool {
        !self.no_cache
            && self.max_age.is_none_or(|most| age <= most)
            && self.min_fresh.is_none_or(|least| left >= least)
    }

    fn obey(&mut self, directive: &str) -> bool {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
            None => (directive, None),
        };
        match (&*name.to_ascii_lowercase(), value.map(seconds)) {
            ("no-store", None) => self.no_store = true,
            ("no-cache", None) => self.no_cache = true,
            ("only-if-cached", None) => self.only_if_cached = true,
            ("max-age", Some(Some(most))) => self.max_age = Some(most),
            ("min-fresh", Some(Some(least))) => self.min_fresh = Some(least),
            _ => return false,
        }
        true
    }
}

fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|directive| !directive.is_empty())
}

/// A number of seconds, in quotes or not.
fn seconds(text: &str) -> Option<Duration> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let digits = quoted.unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(digits.parse().unwrap_or(MOST_SECONDS).min(MOST_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_those_of_requests() {
        let control = Control::parse(" No-Cache ,max-age=60, min-fresh = \"5\",only-if-cached").unwrap();
        let expected = Control {
            no_store: false,
            no_cache: true,
            max_age: Some(Duration::from_secs(60)),
            min_fresh: Some(Duration::from_secs(5)),
            only_if_cached: true,
        };
        assert_eq!(control, expected);
        assert_eq!(Control::parse("").unwrap(), Control::default());
        assert_eq!(
            Control::parse("max-age=99999999999999999999").unwrap().max_age.unwrap().as_secs(),
            1 << 31
        );
    }

    #[test]
    fn of_an_option_each_has_to_be_known_and_of_a_header_those_that_are_count() {
        for bad in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "no-cache=1",
            "nocache",
            "max-stale",
            "private",
        ] {
            assert_eq!(Control::parse(&format!("no-store, {bad}")), Err(bad));
        }
        let odd = Control::of_header("private, max-stale=5, no-transform, x=\"y\"");
        assert_eq!(odd, Control::default());
        assert!(Control::of_header("max-age=soon").no_cache, "an age that is none is the least");
        assert!(Control::of_header("private,no-store").no_store);
    }

    #[test]
    fn an_answer_is_taken_by_its_age() {
        let takes = |text: &str, age: u64, left: u64| {
            let control = Control::parse(text).unwrap();
            control.takes(Duration::from_secs(age), Duration::from_secs(left))
        };
        assert!(takes("", 1_000, 0));
        assert!(!takes("no-cache", 0, 10));
        assert!(takes("max-age=5", 5, 0) && !takes("max-age=5", 6, 100));
        assert!(takes("min-fresh=5", 50, 5) && !takes("min-fresh=5", 0, 4));
    }
}

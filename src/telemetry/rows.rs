//! What is counted by provider and model. Names of models come from requests: those that come first have rows of their own, the others share one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Pairs of a provider and a model that have rows of their own.
const MAX_ROWS: usize = 100;
/// Bytes of a name; a longer one is among the others.
const LONGEST_NAME: usize = 256;
/// Ways to end that a row tells apart. A server that answers with a new status each time has no more than this.
const MAX_ENDS: usize = 32;

/// Stands for the models that have no row of their own.
pub const OTHERS: &str = "(others)";
/// Stands for what a call does not name, or where nobody was asked.
pub const NONE: &str = "(none)";

/// Those of a client.
#[derive(Debug, Default)]
pub struct Rows(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    rows: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Row>>>,
    named: usize,
}

/// What became of the calls to one model of a provider.
#[derive(Debug)]
pub struct Row {
    ended: Mutex<Vec<(End, u64)>>,
    /// Of those that were settled.
    pub duration: Buckets,
    pub first_byte: Buckets,
    /// Tokens a second of each answer.
    pub pace: Buckets,
    pub retried: AtomicU64,
    pub hedged: AtomicU64,
    /// Steps from here to the next target.
    pub failed_over: AtomicU64,
}

/// How a call ended. The default is that its caller left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Of the last answer; 0 for none.
    pub status: u16,
    /// The code of the error; None for a good answer.
    pub error: Option<&'static str>,
}

/// The end of a call that nobody waits for any more.
pub(super) const LEFT: End = End { status: 0, error: Some("ERR_ABORTED") };
/// Those that a row has no room for.
const OTHER_END: End = End { status: u16::MAX, error: None };

/// Counts by upper bounds, which are in millionths of the unit.
#[derive(Debug)]
pub struct Buckets {
    bounds: &'static [u64],
    /// One for each bound, and one for what is beyond.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What buckets hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bounds in the unit, each with all that is not above it.
    pub within: Vec<(f64, u64)>,
    pub count: u64,
    pub sum: f64,
}

/// The bounds that OpenTelemetry's conventions give `gen_ai.client.operation.duration`, and two for calls that think for minutes.
const DURATIONS: [u64; 16] = [
    10_000,
    20_000,
    40_000,
    80_000,
    160_000,
    320_000,
    640_000,
    1_280_000,
    2_560_000,
    5_120_000,
    10_240_000,
    20_480_000,
    40_960_000,
    81_920_000,
    163_840_000,
    327_680_000,
];
/// Those of `gen_ai.server.time_to_first_token`, and two more.
const FIRST_BYTES: [u64; 18] = [
    1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Tokens a second: a small machine has 5, the fastest hardware some thousands.
const PACES: [u64; 12] = [
    5_000_000,
    10_000_000,
    20_000_000,
    30_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    150_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
];
/// Of waits and handshakes.
pub const WAITS: [Duration; 13] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

impl Rows {
    /// The row of a model, or that of the others.
    pub fn of(&self, provider: &Arc<str>, model: &Arc<str>) -> Arc<Row> {
        self.0.lock().of(provider, model).1
    }

    /// Under which name a model is shown: of whatever is told by model, the same ones have names of their own.
    pub fn name(&self, provider: &Arc<str>, model: &Arc<str>) -> Arc<str> {
        self.0.lock().of(provider, model).0
    }

    /// Whether the model has a name of its own.
    pub fn knows(&self, provider: &str, model: &str) -> bool {
        let model = if model.is_empty() { NONE } else { model };
        self.0.lock().rows.get(provider).is_some_and(|rows| rows.contains_key(model))
    }

    /// All there are: provider, model and row, in order.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<str>, Arc<Row>)> {
        let known = self.0.lock();
        let of_provider = |(provider, rows): (&Arc<str>, &HashMap<Arc<str>, Arc<Row>>)| {
            let provider = provider.clone();
            let rows = rows.iter().map(move |(model, row)| (provider.clone(), model.clone(), row.clone()));
            rows.collect::<Vec<_>>()
        };
        let mut all: Vec<_> = known.rows.iter().flat_map(of_provider).collect();
        drop(known);
        all.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        all
    }
}

impl Known {
    fn of(&mut self, provider: &Arc<str>, model: &Arc<str>) -> (Arc<str>, Arc<Row>) {
        if let Some((name, row)) = self.rows.get(provider).and_then(|rows| rows.get_key_value(model)) {
            return (name.clone(), row.clone());
        }
        let name: Arc<str> = match &**model {
            "" => NONE.into(),
            NONE | OTHERS => model.clone(),
            long if long.len() > LONGEST_NAME => OTHERS.into(),
            _ if self.named >= MAX_ROWS => OTHERS.into(),
            _ => {
                self.named += 1;
                model.clone()
            }
        };
        let rows = self.rows.entry(provider.clone()).or_default();
        (name.clone(), rows.entry(name).or_default().clone())
    }
}

impl Default for Row {
    fn default() -> Self {
        Self {
            ended: Mutex::default(),
            duration: Buckets::new(&DURATIONS),
            first_byte: Buckets::new(&FIRST_BYTES),
            pace: Buckets::new(&PACES),
            retried: AtomicU64::default(),
            hedged: AtomicU64::default(),
            failed_over: AtomicU64::default(),
        }
    }
}

impl Row {
    pub fn ended(&self, end: End) {
        let mut ended = self.ended.lock();
        if let Some((_, count)) = ended.iter_mut().find(|(known, _)| *known == end) {
            *count += 1;
            return;
        }
        let end = if ended.len() + 1 < MAX_ENDS || end == OTHER_END { end } else { OTHER_END };
        match ended.iter_mut().find(|(known, _)| *known == end) {
            Some((_, count)) => *count += 1,
            None => ended.push((end, 1)),
        }
    }

    /// How its calls ended, and how many of them so.
    pub fn ends(&self) -> Vec<(End, u64)> {
        let mut ends = self.ended.lock().clone();
        ends.sort_unstable();
        ends
    }
}

impl End {
    pub fn status(&self) -> String {
        match self.status {
            0 => String::new(),
            u16::MAX => OTHERS.to_owned(),
            status => status.to_string(),
        }
    }

    pub fn error(&self) -> &'static str {
        if *self == OTHER_END { OTHERS } else { self.error.unwrap_or_default() }
    }
}

impl Buckets {
    fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self { bounds, counts, sum: AtomicU64::default() }
    }

    pub fn record(&self, millionths: u64) {
        let at = self.bounds.partition_point(|bound| *bound < millionths);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(millionths, Ordering::Relaxed);
        }
    }

    pub fn time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn distribution(&self) -> Distribution {
        let mut count = 0;
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let mut within: Vec<_> = counts
            .map(|here| {
                count += here;
                count
            })
            .collect();
        within.pop();
        let whole = |millionths: u64| millionths as f64 / 1e6;
        let within = self.bounds.iter().map(|bound| whole(*bound)).zip(within).collect();
        Distribution { within, count, sum: whole(self.sum.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_models_have_rows_of_their_own_and_keep_them() {
        let (rows, provider) = (Rows::default(), Arc::from("p"));
        for n in 0..MAX_ROWS {
            rows.of(&provider, &format!("m{n}").into());
        }
        for n in 0..2 * MAX_ROWS {
            rows.of(&provider, &format!("m{n}").into()).ended(LEFT);
        }
        // One that calls name no model for, and those of another provider, have places of their own.
        assert_eq!(&*rows.name(&provider, &"".into()), NONE);
        assert_eq!(&*rows.name(&"q".into(), &"m0".into()), OTHERS);
        assert_eq!(rows.all().len(), MAX_ROWS + 3);
        let counts = |model: &str| rows.of(&provider, &model.into()).ends();
        assert_eq!(counts("m7"), [(LEFT, 1)]);
        assert_eq!(counts(OTHERS), [(LEFT, MAX_ROWS as u64)]);
        assert!(rows.knows("p", "m7") && !rows.knows("p", "m150"));
    }

    #[test]
    fn a_name_of_ten_kilobytes_is_among_the_others() {
        let rows = Rows::default();
        assert_eq!(&*rows.name(&"p".into(), &"m".repeat(10_240).into()), OTHERS);
    }

    #[test]
    fn ends_beyond_those_that_are_told_apart_are_counted_together() {
        let row = Row::default();
        for status in 200..300 {
            row.ended(End { status, error: None });
        }
        let ends = row.ends();
        assert_eq!(ends.len(), MAX_ENDS);
        assert_eq!(ends.iter().map(|(_, count)| count).sum::<u64>(), 100);
        let other = ends.last().unwrap().0;
        assert_eq!((other.status().as_str(), other.error()), (OTHERS, OTHERS));
    }

    #[test]
    fn a_bucket_has_what_is_not_above_its_bound() {
        let buckets = Buckets::new(&PACES);
        for millionths in [0, 5_000_000, 5_000_001, 9_999_999_999] {
            buckets.record(millionths);
        }
        let Distribution { within, count, sum } = buckets.distribution();
        assert_eq!((within[0], within[1], within[11]), ((5.0, 2), (10.0, 3), (2500.0, 3)));
        assert_eq!((count, sum), (4, 10_010.0));
    }
}

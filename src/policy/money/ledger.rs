//! What was spent, by name (of a model, of a tenant): since the beginning, in the hour, day and month of now, and in those before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::amount::Usd;
use super::calendar::{Numbers, Window};
use super::price::{Tariff, Tokens};

/// Names come from requests: what further ones spend is one sum.
const MAX_NAMES: usize = 1000;
/// Bytes of a name; a longer one is among the others.
const LONGEST_NAME: usize = 256;
/// The name of that sum.
pub(super) const OTHERS: &str = "(others)";

/// The share that the newest answer has in the mean length of a model's answers.
const NEWEST: f64 = 0.1;

/// What one request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub tokens: Tokens,
    /// None where nobody knows its price.
    pub cost: Option<Usd>,
    /// Whether the provider did not report its tokens.
    pub is_estimated: bool,
}

/// Sums of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub requests: u64,
    /// All that went in, and what of it came from a cache or was written to one.
    pub input: u64,
    pub cached: u64,
    pub written: u64,
    /// All that came out, and what of it was thought.
    pub output: u64,
    pub reasoning: u64,
    pub cost: Usd,
    /// What of the cost is estimated.
    pub estimated: Usd,
    /// Requests without a price.
    pub unpriced: u64,
}

/// Which sums are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    #[default]
    All,
    /// The window that is under way.
    Now(Window),
    /// The one before it.
    Before(Window),
}

/// The sums of one name.
#[derive(Clone, Debug, Default)]
struct Spans {
    all: Row,
    /// By window: its number, its sums and those of the one before.
    windows: [(u32, Row, Row); 3],
}

#[derive(Debug, Default)]
struct Account {
    spans: Spans,
    /// What the model that answered last costs, by its name, and on which day that was looked up.
    tariff: Option<(Arc<str>, u32, Option<Tariff>)>,
    /// Tokens of an answer, the newest ones most of all; None before the first.
    mean_answer: Option<f64>,
}

/// The sums by name.
#[derive(Debug, Default)]
pub struct Books {
    accounts: HashMap<Arc<str>, Account>,
}

impl Row {
    pub fn add(&mut self, entry: &Entry) {
        let Entry { tokens, cost, is_estimated } = entry;
        let written = tokens.cache_write.saturating_add(tokens.cache_write_hour);
        let cost = cost.unwrap_or_default();
        self.merge(&Self {
            requests: 1,
            input: tokens.prompt(),
            cached: tokens.cached,
            written,
            output: tokens.answer(),
            reasoning: tokens.reasoning,
            cost,
            estimated: if *is_estimated { cost } else { Usd::ZERO },
            unpriced: u64::from(entry.cost.is_none()),
        });
    }

    pub fn merge(&mut self, other: &Self) {
        let counts = [
            (&mut self.requests, other.requests),
            (&mut self.input, other.input),
            (&mut self.cached, other.cached),
            (&mut self.written, other.written),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
            (&mut self.unpriced, other.unpriced),
        ];
        for (sum, more) in counts {
            *sum = sum.saturating_add(more);
        }
        self.cost = self.cost.plus(other.cost);
        self.estimated = self.estimated.plus(other.estimated);
    }
}

impl Spans {
    fn add(&mut self, entry: &Entry, now: Numbers) {
        self.all.add(entry);
        for (window, (number, sums, before)) in Window::ALL.into_iter().zip(&mut self.windows) {
            // A clock that goes back stays in the window that it has come to.
            let now = now.of(window).max(*number);
            if now > *number {
                *before = if now == *number + 1 { *sums } else { Row::default() };
                (*number, *sums) = (now, Row::default());
            }
            sums.add(entry);
        }
    }

    fn row(&self, period: Period, now: Numbers) -> Row {
        let (window, back) = match period {
            Period::All => return self.all,
            Period::Now(window) => (window, 0),
            Period::Before(window) => (window, 1),
        };
        let (number, sums, before) = self.windows[window as usize];
        let now = now.of(window).max(number);
        match (now - number + 1).checked_sub(back) {
            Some(0) => before,
            Some(1) => sums,
            _ => Row::default(),
        }
    }
}

impl Books {
    /// Enters what a request to a model came to, and gives its cost. `answered`: the name that the answer has for the model. `find` is asked
    /// for the price where it is not known from the last time.
    pub fn charge(
        &mut self,
        model: &Arc<str>,
        answered: &Arc<str>,
        tokens: Tokens,
        is_estimated: bool,
        (now, numbers): (SystemTime, Numbers),
        find: impl FnOnce(SystemTime) -> Option<Tariff>,
    ) -> Option<Usd> {
        let account = self.account(model);
        let tariff = account.tariff(answered, numbers.of(Window::Day), || find(now));
        let entry = Entry { tokens, cost: tariff.map(|tariff| tariff.of(&tokens)), is_estimated };
        account.spans.add(&entry, numbers);
        if !is_estimated {
            let answer = tokens.answer() as f64;
            let mean = account.mean_answer.get_or_insert(answer);
            *mean += (answer - *mean) * NEWEST;
        }
        entry.cost
    }

    /// Enters what has a cost already.
    pub fn enter(&mut self, name: &Arc<str>, entry: &Entry, numbers: Numbers) {
        self.account(name).spans.add(entry, numbers);
    }

    /// What a model costs that has answered before, or may, and how many tokens its answers have in the mean.
    pub fn expect(
        &mut self,
        model: &Arc<str>,
        (now, numbers): (SystemTime, Numbers),
        find: impl FnOnce(SystemTime) -> Option<Tariff>,
    ) -> (Option<Tariff>, Option<f64>) {
        let Some(account) = self.accounts.get_mut(&**model) else { return (find(now), None) };
        let known = account.tariff.as_ref().map_or_else(|| model.clone(), |(answered, ..)| answered.clone());
        (account.tariff(&known, numbers.of(Window::Day), || find(now)), account.mean_answer)
    }

    pub fn rows(&self, period: Period, now: Numbers) -> impl Iterator<Item = (&Arc<str>, Row)> {
        let rows = self.accounts.iter().map(move |(name, account)| (name, account.spans.row(period, now)));
        rows.filter(|(_, row)| row.requests > 0)
    }

    fn account(&mut self, name: &Arc<str>) -> &mut Account {
        let is_new = !self.accounts.contains_key(&**name);
        let is_other = is_new && (self.accounts.len() >= MAX_NAMES || name.len() > LONGEST_NAME);
        let name = if is_other { OTHERS.into() } else { name.clone() };
        self.accounts.entry(name).or_default()
    }
}

impl Account {
    fn tariff(
        &mut self,
        answered: &Arc<str>,
        day: u32,
        find: impl FnOnce() -> Option<Tariff>,
    ) -> Option<Tariff> {
        match &self.tariff {
            Some((name, looked_up, tariff)) if name == answered && *looked_up == day => *tariff,
            _ => {
                let tariff = find();
                self.tariff = Some((answered.clone(), day, tariff));
                tariff
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::money::{Listed, Price};

    const HOUR: u64 = 3600;

    fn entry(dollars: f64) -> Entry {
        Entry { tokens: Tokens::default(), cost: Some(Usd::from_dollars(dollars)), is_estimated: false }
    }

    #[test]
    fn windows_begin_anew_and_what_was_before_is_kept_for_one() {
        let mut spans = Spans::default();
        let dollars =
            |spans: &Spans, period, second| spans.row(period, Numbers::at_second(second)).cost.dollars();
        spans.add(&entry(1.0), Numbers::at_second(10 * HOUR));
        spans.add(&entry(2.0), Numbers::at_second(11 * HOUR - 1));
        let (now, before) = (Period::Now(Window::Hour), Period::Before(Window::Hour));
        assert_eq!((dollars(&spans, now, 10 * HOUR), dollars(&spans, before, 10 * HOUR)), (3.0, 0.0));
        // Also where nothing was spent since.
        assert_eq!((dollars(&spans, now, 11 * HOUR), dollars(&spans, before, 11 * HOUR)), (0.0, 3.0));
        spans.add(&entry(4.0), Numbers::at_second(11 * HOUR));
        assert_eq!((dollars(&spans, now, 11 * HOUR), dollars(&spans, before, 11 * HOUR)), (4.0, 3.0));
        spans.add(&entry(8.0), Numbers::at_second(13 * HOUR));
        assert_eq!((dollars(&spans, now, 13 * HOUR), dollars(&spans, before, 13 * HOUR)), (8.0, 0.0));
        let day = Period::Now(Window::Day);
        assert_eq!((dollars(&spans, day, 14 * HOUR), dollars(&spans, Period::All, 0)), (15.0, 15.0));
        assert_eq!(dollars(&spans, Period::Before(Window::Day), 30 * HOUR), 15.0);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let mut spans = Spans::default();
        spans.add(&entry(1.0), Numbers::at_second(11 * HOUR));
        spans.add(&entry(2.0), Numbers::at_second(9 * HOUR));
        let row = spans.row(Period::Now(Window::Hour), Numbers::at_second(9 * HOUR));
        assert_eq!(row.cost.dollars(), 3.0);
    }

    #[test]
    fn names_without_end_are_one_sum() {
        let mut books = Books::default();
        let now = Numbers::at_second(0);
        for n in 0..5000 {
            books.enter(&format!("m{n}").into(), &entry(1.0), now);
        }
        books.enter(&"x".repeat(10_000).into(), &entry(1.0), now);
        let rows: Vec<_> = books.rows(Period::All, now).collect();
        assert_eq!(rows.len(), MAX_NAMES + 1);
        let others = rows.iter().find(|(name, _)| &***name == OTHERS).unwrap();
        assert_eq!(others.1.requests, 4001);
        assert_eq!(rows.iter().map(|(_, row)| row.cost).sum::<Usd>().dollars(), 5001.0);
    }

    #[test]
    fn a_price_is_looked_up_once_a_day_for_each_name_that_answers() {
        let mut books = Books::default();
        let mut asked = 0;
        let price = Price::from(Listed { input: 1.0, ..Listed::default() });
        let tokens = Tokens { input: 1_000_000, ..Tokens::default() };
        let mut charge = |answered: &str, second| {
            let now = (SystemTime::UNIX_EPOCH, Numbers::at_second(second));
            books.charge(&"m".into(), &answered.into(), tokens, false, now, |_| {
                asked += 1;
                Some(Tariff::flat(price))
            })
        };
        for (answered, second) in [("a", 0), ("a", 1), ("b", 2), ("b", 24 * HOUR)] {
            assert_eq!(charge(answered, second), Some(Usd::from_dollars(1.0)));
        }
        assert_eq!(asked, 3);
    }

    #[test]
    fn what_has_no_price_is_counted_and_costs_nothing() {
        let mut books = Books::default();
        let now = (SystemTime::UNIX_EPOCH, Numbers::at_second(0));
        let tokens = Tokens { input: 7, output: 3, ..Tokens::default() };
        assert_eq!(books.charge(&"m".into(), &"m".into(), tokens, true, now, |_| None), None);
        let (_, row) = books.rows(Period::All, now.1).next().unwrap();
        assert_eq!((row.requests, row.unpriced, row.input, row.output), (1, 1, 7, 3));
    }
}

//! Which price holds for a model of a provider. In this order: what the user says of `provider/model`, what the user says of the model, and
//! the built-in table (`prices.json`: dated, and sourced row by row).
//!
//! The table has the list prices of vendors, and holds at the vendor's own address alone: a relay has prices of its own, which nobody knows
//! here unless the user says so, if only by naming the model of the table that it charges as. What has no price is never guessed.
//!
//! A name is looked for as it is, then without the date at its end (`gpt-4o-2024-08-06`, `claude-haiku-4-5-20251001`), with which vendors
//! name one version of a model, and without the `models/` that Gemini's may begin with. A version whose price is its own has a row.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::calendar::Window;
use super::price::{Listed, Price, Tariff};

/// Prices as a user gives them, and the built-in ones behind them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    given: Arc<BTreeMap<String, Given>>,
}

/// What a user says of a model, or of `provider/model`.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Price(Tariff),
    /// It costs what this model of the table does.
    As(&'static str),
}

/// Whose list prices hold at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vendor(&'static str);

/// What holds at some times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// From when on, in seconds since 1970.
    from: u64,
    tariff: Tariff,
}

/// By vendor and name; of each the later before the earlier.
#[derive(Debug, Default)]
struct Table {
    hosts: Vec<(String, String)>,
    rows: HashMap<String, HashMap<String, Vec<Row>>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("prices.json")));

impl Vendor {
    /// Whose address this is, by the name of the host.
    pub fn at(scheme_is_https: bool, host: &str) -> Option<Self> {
        let mut hosts = TABLE.hosts.iter();
        let (_, vendor) = hosts.find(|(own, _)| scheme_is_https && own.eq_ignore_ascii_case(host))?;
        Some(Self(vendor))
    }
}

impl Given {
    /// A model of the table by its name, if it is there.
    pub fn of_table(name: &str) -> Option<Self> {
        let mut vendors = TABLE.rows.values();
        let (name, _) = vendors.find_map(|rows| {
            rows.get_key_value(known(rows, name)?).filter(|(_, of_model)| !of_model.is_empty())
        })?;
        Some(Self::As(name))
    }
}

impl Prices {
    pub fn new(given: BTreeMap<String, Given>) -> Self {
        Self { given: Arc::new(given) }
    }

    /// What a request costs at a provider that was asked for one model and answered with another name of it, most often that of a version.
    /// None where nobody says.
    pub fn find(
        &self,
        provider: &str,
        vendor: Option<Vendor>,
        asked: &str,
        answered: &str,
        now: SystemTime,
    ) -> Option<Tariff> {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let given = [asked, answered].into_iter().find_map(|name| self.given(provider, name));
        match given {
            Some(Given::Price(tariff)) => Some(*tariff),
            Some(Given::As(name)) => TABLE.rows.values().find_map(|rows| at(rows.get(*name)?, second)),
            // A version may cost what no other does, and it is what was charged.
            None => {
                let rows = TABLE.rows.get(vendor?.0)?;
                let mut names = [answered, asked].into_iter();
                names.find_map(|name| at(rows.get(known(rows, name)?)?, second))
            }
        }
    }

    fn given(&self, provider: &str, model: &str) -> Option<&Given> {
        // Most users give none.
        if self.given.is_empty() {
            return None;
        }
        self.given.get(&format!("{provider}/{model}")).or_else(|| self.given.get(model))
    }
}

/// Under which name a model stands in the table.
fn known<'a>(rows: &HashMap<String, Vec<Row>>, name: &'a str) -> Option<&'a str> {
    let name = name.strip_prefix("models/").unwrap_or(name);
    [Some(name), without_date(name)].into_iter().flatten().find(|name| rows.contains_key(*name))
}

/// `gpt-4o-2024-08-06` and `claude-haiku-4-5-20251001` without their dates.
fn without_date(name: &str) -> Option<&str> {
    let date = |digits: &[usize]| {
        let mut rest = name;
        for digits in digits {
            let at = rest.len().checked_sub(digits + 1)?;
            let (before, part) = rest.split_at_checked(at)?;
            let number = part.strip_prefix('-')?;
            rest = number.bytes().all(|byte| byte.is_ascii_digit()).then_some(before)?;
        }
        Some(rest)
    };
    // From its end: day, month, year.
    date(&[2, 2, 4]).or_else(|| date(&[8]))
}

fn at(rows: &[Row], second: u64) -> Option<Tariff> {
    rows.iter().find(|row| row.from <= second).map(|row| row.tariff)
}

/// A row as the file has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    vendor: String,
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    /// Versions whose price is another, and not known here.
    #[serde(default)]
    except: Vec<String>,
    from: Option<String>,
    #[serde(flatten)]
    price: Numbers,
    above: Option<Above>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Above {
    tokens: u64,
    #[serde(flatten)]
    price: Numbers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    input: f64,
    output: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
    cache_write_hour: Option<f64>,
    audio_input: Option<f64>,
    reasoning: Option<f64>,
}

#[derive(Deserialize)]
struct Host {
    name: String,
    host: String,
}

#[derive(Deserialize)]
struct File {
    vendors: Vec<Host>,
    models: Vec<Written>,
}

impl Table {
    /// A test reads it too: what does not parse never leaves the house.
    fn read(text: &str) -> Self {
        let Ok(File { vendors, models }) = serde_json::from_str(text) else { return Self::default() };
        let mut table = Self::default();
        table.hosts.extend(vendors.into_iter().map(|vendor| (vendor.host, vendor.name)));
        for Written { vendor, name, aliases, except, from, price, above } in models {
            let above = above.map(|above| (above.tokens, above.price.into()));
            let from = from.as_deref().and_then(begins).unwrap_or_default();
            let row = Row { from, tariff: Tariff { base: price.into(), above } };
            let rows = table.rows.entry(vendor).or_default();
            // They are found, and have no price.
            rows.extend(except.into_iter().map(|name| (name, Vec::new())));
            for name in aliases.into_iter().chain([name]) {
                let of_model = rows.entry(name).or_default();
                of_model.push(row.clone());
                of_model.sort_by_key(|row| std::cmp::Reverse(row.from));
            }
        }
        table
    }
}

impl From<Numbers> for Price {
    fn from(numbers: Numbers) -> Self {
        let Numbers { input, output, cached_input, cache_write, cache_write_hour, audio_input, reasoning } =
            numbers;
        Listed { input, output, cached_input, cache_write, cache_write_hour, audio_input, reasoning }.into()
    }
}

/// The beginning of a day that is the first of its month, in seconds since 1970: `2027-01-01`.
fn begins(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(|part| part.parse::<u32>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let number = year.checked_sub(1970)?.checked_mul(12)?.checked_add(month.checked_sub(1)?)?;
    Some(Window::Month.begins(number) + u64::from(day.checked_sub(1)?) * 24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::money::{Tokens, Usd};

    fn time(date: &str) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(begins(date).unwrap())
    }

    fn now() -> SystemTime {
        time("2026-11-20")
    }

    fn vendor(host: &str) -> Option<Vendor> {
        Vendor::at(true, host)
    }

    /// A million tokens in, a million out.
    fn million(tariff: Option<Tariff>) -> Option<f64> {
        let tokens = Tokens { input: 1_000_000, output: 1_000_000, ..Tokens::default() };
        tariff.map(|tariff| tariff.base.of(&tokens).dollars())
    }

    fn listed(host: &str, model: &str) -> Option<f64> {
        million(Prices::default().find("p", vendor(host), model, model, now()))
    }

    fn given(name: &str, input: f64) -> (String, Given) {
        let price = Price::from(Listed { input, ..Listed::default() });
        (name.to_owned(), Given::Price(Tariff::flat(price)))
    }

    #[test]
    fn every_row_of_the_table_is_sourced_dated_and_no_kind_costs_more_than_it_may() {
        let file: serde_json::Value = serde_json::from_str(include_str!("prices.json")).unwrap();
        let rows = file["models"].as_array().unwrap();
        assert!(rows.len() > 40);
        for row in rows {
            let name = row["name"].as_str().unwrap();
            assert!(row["source"].as_str().unwrap().starts_with("https://"), "{name}");
            assert!(begins(row["checked"].as_str().unwrap()).is_some(), "{name}");
            let vendor = row["vendor"].as_str().unwrap();
            assert!(
                file["vendors"].as_array().unwrap().iter().any(|known| known["name"] == vendor),
                "{name}"
            );
            for price in [row, &row["above"]].into_iter().filter(|price| !price.is_null()) {
                let of = |kind: &str| price[kind].as_f64();
                assert!(of("input").unwrap() > 0.0 && of("output").unwrap() >= 0.0, "{name}");
                assert!(of("cachedInput").is_none_or(|cached| cached < of("input").unwrap()), "{name}");
            }
        }
        let priced = TABLE.rows.values().flat_map(HashMap::values).filter(|rows| !rows.is_empty());
        assert_eq!(priced.count(), {
            let mut names: Vec<_> = rows
                .iter()
                .flat_map(|row| {
                    let aliases = row["aliases"].as_array().into_iter().flatten();
                    aliases.chain([&row["name"]]).map(|name| name.as_str().unwrap())
                })
                .collect();
            names.sort_unstable();
            names.dedup();
            names.len()
        });
    }

    #[test]
    fn a_name_is_found_as_it_is_and_without_its_date() {
        assert_eq!(listed("api.openai.com", "gpt-4o"), Some(12.5));
        assert_eq!(listed("API.openai.com", "gpt-4o-2024-08-06"), Some(12.5));
        assert_eq!(listed("api.openai.com", "gpt-5-codex"), Some(11.25));
        assert_eq!(listed("api.anthropic.com", "claude-haiku-4-5-20251001"), Some(6.0));
        assert_eq!(listed("generativelanguage.googleapis.com", "models/gemini-2.5-flash"), Some(2.8));
        for unknown in [
            "gpt-4o-mini-tts",
            // It was dearer than those after it.
            "gpt-4o-2024-05-13",
            "gpt-4o-2024-8-6",
            "gpt-4o-",
            "-20251001",
            "",
            "GPT-4o",
            "ft:gpt-4o:x",
        ] {
            assert_eq!(listed("api.openai.com", unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_table_holds_at_the_vendors_own_address_alone() {
        for relay in ["openrouter.ai", "eu.api.openai.com", "api.anthropic.com", "localhost"] {
            assert_eq!(listed(relay, "gpt-4o"), None, "{relay}");
        }
        assert_eq!(Vendor::at(false, "api.openai.com"), None);
    }

    #[test]
    fn what_the_user_says_comes_first_and_what_is_said_of_a_provider_before_the_rest() {
        let prices = Prices::new(BTreeMap::from([
            given("gpt-4o", 1.0),
            given("relay/gpt-4o", 2.0),
            given("x-9", 3.0),
        ]));
        let find = |provider: &str, asked: &str, answered: &str| {
            million(prices.find(provider, vendor("api.openai.com"), asked, answered, now()))
        };
        assert_eq!(find("relay", "gpt-4o", "gpt-4o-2024-08-06"), Some(2.0));
        assert_eq!(find("other", "gpt-4o", "gpt-4o-2024-08-06"), Some(1.0));
        // A deployment's name is the user's own; what answers has one that somebody knows.
        assert_eq!(find("other", "my-deployment", "x-9"), Some(3.0));
        assert_eq!(find("other", "gpt-4o-mini", "gpt-4o-mini"), Some(0.75));
    }

    #[test]
    fn a_relays_model_may_cost_what_one_of_the_table_does() {
        let alias = Given::of_table("gpt-4o-2024-08-06").unwrap();
        let prices = Prices::new(BTreeMap::from([("relay/openai/gpt-4o".to_owned(), alias)]));
        let find = |provider: &str| million(prices.find(provider, None, "openai/gpt-4o", "whatever", now()));
        assert_eq!((find("relay"), find("other")), (Some(12.5), None));
        assert_eq!(Given::of_table("no-such-model"), None);
    }

    #[test]
    fn a_price_that_changes_on_a_day_changes_on_that_day() {
        let find = |date: &str| {
            let vendor = vendor("generativelanguage.googleapis.com");
            million(Prices::default().find("p", vendor, "gemini-3.7-flash", "", time(date)))
        };
        assert_eq!((find("2026-12-31"), find("2027-01-01")), (Some(4.5), Some(9.0)));
    }

    #[test]
    fn sums_of_listed_prices_are_exact() {
        let tariff = Prices::default().find("p", vendor("api.openai.com"), "gpt-4o-mini", "", now()).unwrap();
        let call = tariff.of(&Tokens { input: 333, output: 77, cached: 3, ..Tokens::default() });
        let million: Usd = std::iter::repeat_n(call, 1_000_000).sum();
        // 333 × 0.15 + 77 × 0.60 + 3 × 0.075 dollars.
        assert_eq!(million.dollars(), 96.375);
    }
}

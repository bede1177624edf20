//! Money, for any prices and any order of calls: no picodollar is lost or made up, what is spoken for comes back, and no limit is passed by what was
//! spoken for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use trunkline::policy::money::{
    Amount, Books, BudgetPolicy, Limit, Limits, Listed, Numbers, Period, Price, Purse, Scope, Tariff, Tokens,
    Unit, Usd, Window,
};

fn config() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(0x6d6f_6e65), ..ProptestConfig::with_cases(256) }
}

/// Dollars as somebody writes them, with up to six places, and the same in millionths.
fn written() -> impl Strategy<Value = (f64, u128)> {
    (0_u32..200_000_000).prop_map(|millionths| {
        let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
        (text.parse().unwrap_or_default(), u128::from(millionths))
    })
}

fn second(second: u64) -> (SystemTime, Numbers) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    (now, Numbers::at(now))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_cost_is_what_pencil_and_paper_have(
        prices in vec(written(), 7),
        counts in vec(0_u64..2_000_000, 7),
    ) {
        let price: Price = Listed {
            input: prices[0].0,
            output: prices[1].0,
            cached_input: Some(prices[2].0),
            cache_write: Some(prices[3].0),
            cache_write_hour: Some(prices[4].0),
            audio_input: Some(prices[5].0),
            reasoning: Some(prices[6].0),
        }
        .into();
        let tokens = Tokens {
            input: counts[0],
            output: counts[1],
            cached: counts[2],
            cache_write: counts[3],
            cache_write_hour: counts[4],
            audio: counts[5],
            reasoning: counts[6],
        };
        // A millionth of a dollar for a million tokens is a picodollar a token.
        let expected: u128 = prices.iter().zip(&counts).map(|((_, price), count)| price * u128::from(*count)).sum();
        prop_assert_eq!(price.of(&tokens).picos(), expected);
    }

    #[test]
    fn windows_hold_what_was_charged_in_them_in_whatever_order(
        charges in vec((0_u64..100 * 3600, 1_u64..1000), 1..60),
    ) {
        let mut charges = charges;
        charges.sort_unstable();
        let price = Price::from(Listed { input: 1.0, ..Listed::default() });
        let mut books = Books::default();
        let model: Arc<str> = "m".into();
        for (at, input) in &charges {
            let tokens = Tokens { input: *input, ..Tokens::default() };
            books.charge(&model, &model, tokens, false, second(*at), |_| Some(Tariff::flat(price)));
        }
        let last = charges.last().map_or(0, |(at, _)| *at);
        for window in Window::ALL {
            let number = Numbers::at_second(last).of(window);
            let sum = |number: u32| -> u64 {
                let range = window.begins(number)..window.begins(number + 1);
                charges.iter().filter(|(at, _)| range.contains(at)).map(|(_, input)| input).sum()
            };
            let known = |period| -> u64 { books.rows(period, Numbers::at_second(last)).map(|(_, row)| row.input).sum() };
            prop_assert_eq!(known(Period::Now(window)), sum(number));
            if number > 0 {
                prop_assert_eq!(known(Period::Before(window)), sum(number - 1));
            }
        }
    }

    #[test]
    fn nothing_that_is_spoken_for_is_lost_and_no_limit_is_passed_by_it(
        limit in 1_u64..50,
        steps in vec((0_u8..4, 0_usize..8, 1_u64..10, 0_u64..3600), 1..200),
    ) {
        let policy = BudgetPolicy {
            window: Window::Hour,
            all: Limit { usd: None, tokens: Some(limit) },
            models: BTreeMap::from([("m1".into(), Limit { usd: None, tokens: Some(limit / 2 + 1) })]),
            tenant: Limit { usd: None, tokens: Some(limit / 3 + 1) },
            alert_at: vec![0.5, 1.0],
            blocks: true,
            allows_unpriced: false,
        };
        let amount = |tokens| Amount { usd: Usd::ZERO, tokens };
        let mut purse = Purse::default();
        let mut open: Vec<(Limits, u64)> = Vec::new();
        let mut spent: BTreeMap<(Scope, u32), u64> = BTreeMap::new();
        let mut time = 0;
        for (step, which, tokens, passes) in steps {
            time += passes;
            let now = Numbers::at_second(time);
            let (model, tenant) = (format!("m{}", which % 2), Arc::<str>::from(format!("t{}", which / 4)));
            let mut limits = policy.limits("p", &model, Some(&tenant));
            match step {
                0 | 1 => {
                    let fits = limits.scopes().all(|scope| {
                        let most = match scope {
                            Scope::All => limit,
                            Scope::Model(_) => limit / 2 + 1,
                            Scope::Tenant(_) => limit / 3 + 1,
                        };
                        let of = |limits: &Limits| limits.scopes().any(|other| other == scope);
                        let held: u64 = open.iter().filter(|(limits, _)| of(limits)).map(|(_, tokens)| tokens).sum();
                        let spent = spent.get(&(scope.clone(), now.of(Window::Hour))).copied().unwrap_or_default();
                        spent + held + tokens <= most
                    });
                    let reserved = purse.reserve(&policy, &mut limits, amount(tokens), now);
                    prop_assert_eq!(reserved.is_ok(), fits);
                    if fits {
                        open.push((limits, tokens));
                    }
                }
                2 if !open.is_empty() => {
                    let (limits, tokens) = open.remove(which % open.len());
                    purse.release(&limits, amount(tokens));
                }
                _ => {
                    purse.charge(&policy, &limits, amount(tokens), now);
                    for scope in limits.scopes() {
                        *spent.entry((scope.clone(), now.of(Window::Hour))).or_default() += tokens;
                    }
                }
            }
        }
        let now = Numbers::at_second(time);
        for (limits, tokens) in open.drain(..) {
            purse.release(&limits, amount(tokens));
        }
        for ((scope, hour), sum) in spent {
            let standing = policy.standing(&purse, &scope, Unit::Tokens, now);
            prop_assert_eq!(standing.reserved, 0.0);
            if hour == now.of(Window::Hour) {
                prop_assert_eq!(standing.spent, sum as f64);
            }
        }
    }
}

#[test]
fn a_million_calls_add_up_to_the_last_picodollar() {
    let price = Price::from(Listed {
        input: 0.15,
        output: 0.6,
        cached_input: Some(0.075),
        reasoning: Some(0.000_001),
        ..Listed::default()
    });
    let mut books = Books::default();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut expected, mut by_addition) = (0_u128, 0.0_f64);
    let models: Vec<Arc<str>> = (0..7).map(|n| format!("m{n}").into()).collect();
    for n in 0..1_000_000_u64 {
        let mut count = || random.u64(0..100_000);
        let tokens = Tokens {
            input: count(),
            output: count(),
            cached: count(),
            reasoning: count(),
            ..Tokens::default()
        };
        let picos =
            150_000 * tokens.input + 600_000 * tokens.output + 75_000 * tokens.cached + tokens.reasoning;
        expected += u128::from(picos);
        by_addition += picos as f64 / 1e12;
        let model = &models[n as usize % models.len()];
        books.charge(model, model, tokens, n % 3 == 0, second(n), |_| Some(Tariff::flat(price)));
    }
    let rows: Vec<_> = books.rows(Period::All, second(0).1).map(|(_, row)| row).collect();
    let total: Usd = rows.iter().map(|row| row.cost).sum();
    assert_eq!(total.picos(), expected);
    assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), 1_000_000);
    // Which sums of binary fractions are not, at as many calls.
    assert!((by_addition - total.dollars()).abs() > 1e-12);
}

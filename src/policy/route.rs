//! The order in which the targets of a route are asked: the first is chosen by the route's strategy, the others are the fall-backs, as they
//! are listed. What is not likely to answer (an open circuit, keys that all rest) goes last, and is still there.

mod load;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::load::{Load, Running, Wait};

use super::money::{Tariff, Tokens, Usd};

/// How the first target is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The first that is listed.
    #[default]
    Ordered,
    /// By chance, each as often as its weight has it.
    Weighted,
    /// The one with the fewest calls under way; by chance where several have as few.
    LeastBusy,
    /// The better one of two that are drawn. If it were the best of all, every call would crowd the one that was best a moment ago
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE Transactions on Parallel and Distributed Systems
    /// 12(10), 2001).
    LowestLatency,
    /// The cheapest for this request. What has no price comes after what has one.
    LowestCost,
}

/// A target, as far as its order goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its share among the weights of all; at 0 it is a fall-back alone. Only [`Strategy::Weighted`] looks at it.
    pub weight: f64,
    pub price: Option<Tariff>,
    /// Shared by all routes that have the same model of the same provider.
    pub load: Arc<Load>,
}

/// What is known of a request before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Both are estimates.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub wait: Wait,
}

/// The indexes of the targets in the order in which they are to be asked, each once. `goes_last` is asked once for each; `random` is evenly
/// drawn.
pub fn order(
    strategy: Strategy,
    targets: &[Target],
    request: Request,
    now: Instant,
    random: u64,
    goes_last: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let (mut order, mut last): (Vec<_>, Vec<_>) = (0..targets.len()).partition(|index| !goes_last(*index));
    // Where none is likely to answer, one of them is asked all the same.
    let choices = if order.is_empty() { &mut last } else { &mut order };
    let candidates: Vec<_> = choices.iter().filter_map(|index| targets.get(*index)).collect();
    if let Some(first) = choose(strategy, &candidates, request, now, random)
        && let Some(until_first) = choices.get_mut(..=first)
    {
        until_first.rotate_right(1);
    }
    order.append(&mut last);
    order
}

/// Whether a target may take a request that was too long for another one. `failed`, `other`: the input tokens that the options say each takes,
/// None where they do not say. Of two that say nothing, neither is known to take more.
pub fn takes_more(other: Option<u64>, failed: Option<u64>, request: Request) -> bool {
    match (other, failed) {
        (Some(other), Some(failed)) => other > failed,
        (None, Some(_)) => true,
        (Some(other), None) => other > request.input_tokens,
        (None, None) => false,
    }
}

impl Request {
    /// What it may come to.
    fn cost(&self, tariff: &Tariff) -> Usd {
        tariff.of(&Tokens { input: self.input_tokens, output: self.output_tokens, ..Tokens::default() })
    }
}

fn choose(
    strategy: Strategy,
    targets: &[&Target],
    request: Request,
    now: Instant,
    random: u64,
) -> Option<usize> {
    let indexed = || targets.iter().enumerate();
    match strategy {
        Strategy::Ordered => Some(0),
        Strategy::Weighted => by_weight(targets, random),
        Strategy::LeastBusy => {
            // Read once: others come and go meanwhile.
            let busy: Vec<_> = targets.iter().map(|target| target.load.in_flight()).collect();
            let least = busy.iter().min()?;
            let equal = || busy.iter().enumerate().filter(|(_, busy)| *busy == least);
            equal().nth(below(equal().count(), random)).map(|(index, _)| index)
        }
        Strategy::LowestLatency => {
            let [one, other] = two_below(targets.len(), random);
            let cost = |index: usize| targets.get(index).map(|target| target.load.cost(request.wait, now));
            Some(if cost(other)? < cost(one)? { other } else { one })
        }
        Strategy::LowestCost => {
            let cost = |target: &Target| target.price.map(|tariff| request.cost(&tariff));
            let cheapest = indexed().min_by_key(|(_, target)| (target.price.is_none(), cost(target)));
            cheapest.map(|(index, _)| index)
        }
    }
}

/// The first, where none has a weight.
fn by_weight(targets: &[&Target], random: u64) -> Option<usize> {
    let weighted = || targets.iter().enumerate().filter(|(_, target)| target.weight > 0.0);
    let total: f64 = weighted().map(|(_, target)| target.weight).sum();
    // The 53 bits that a double has.
    let mut point = (random >> 11) as f64 / (1_u64 << 53) as f64 * total;
    let drawn = weighted().find(|(_, target)| {
        let is_here = point < target.weight;
        point -= target.weight;
        is_here
    });
    // Rounding may lead behind the last.
    drawn.or_else(|| weighted().next_back()).map_or(Some(0), |(index, _)| Some(index))
}

/// A number below `n`; 0 where there is none (Lemire, "Fast Random Integer Generation in an Interval", 2019, without the rejection that would
/// take its last trace of a bias).
fn below(n: usize, random: u64) -> usize {
    ((random as u128 * n as u128) >> 64) as usize
}

/// Two different numbers below `n`, as far as there are two.
fn two_below(n: usize, random: u64) -> [usize; 2] {
    let one = below(n, random);
    // The lower half decides again.
    let other = below(n.saturating_sub(1), random << 32);
    [one, if other >= one && n > 1 { other + 1 } else { other }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::money::{Listed, Price};

    const REQUEST: Request = Request { input_tokens: 1000, output_tokens: 500, wait: Wait::FirstPiece };

    fn targets(n: usize) -> Vec<Target> {
        (0..n).map(|_| Target { weight: 1.0, price: None, load: Arc::default() }).collect()
    }

    fn order_of(strategy: Strategy, targets: &[Target], last: &[usize]) -> Vec<usize> {
        order(strategy, targets, REQUEST, Instant::now(), fastrand::u64(..), |index| last.contains(&index))
    }

    #[test]
    fn what_is_not_likely_to_answer_goes_last_and_is_still_there() {
        let three = targets(3);
        assert_eq!(order_of(Strategy::Ordered, &three, &[]), [0, 1, 2]);
        assert_eq!(order_of(Strategy::Ordered, &three, &[0]), [1, 2, 0]);
        assert_eq!(order_of(Strategy::Ordered, &three, &[0, 1]), [2, 0, 1]);
        assert_eq!(order_of(Strategy::Ordered, &three, &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(order_of(Strategy::Ordered, &[], &[]), [0_usize; 0]);
    }

    #[test]
    fn where_none_is_likely_to_answer_the_strategy_still_chooses() {
        let mut two = targets(2);
        two[0].weight = 0.0;
        assert_eq!(order_of(Strategy::Weighted, &two, &[0, 1]), [1, 0]);
    }

    #[test]
    fn a_weight_of_zero_is_a_fall_back_alone() {
        let mut three = targets(3);
        three[0].weight = 0.0;
        for _ in 0..1000 {
            assert_ne!(order_of(Strategy::Weighted, &three, &[])[0], 0);
        }
        // With nobody else, it is the first all the same.
        assert_eq!(order_of(Strategy::Weighted, &three, &[1, 2]), [0, 1, 2]);
    }

    #[test]
    fn the_cheapest_for_the_request_is_first_and_what_has_no_price_comes_after() {
        let mut three = targets(3);
        let price = |input, output| {
            let price = Price::from(Listed { input, output, ..Listed::default() });
            Some(Tariff::flat(price))
        };
        three[1].price = price(1.0, 10.0);
        three[2].price = price(5.0, 5.0);
        let first = |input_tokens, output_tokens| {
            let request = Request { input_tokens, output_tokens, ..REQUEST };
            order(Strategy::LowestCost, &three, request, Instant::now(), 0, |_| false)
        };
        assert_eq!(first(10_000, 100), [1, 0, 2]);
        assert_eq!(first(100, 10_000), [2, 0, 1]);
        assert_eq!(order_of(Strategy::LowestCost, &targets(2), &[]), [0, 1]);
    }

    #[test]
    fn too_long_a_request_goes_where_more_is_taken() {
        let table = [
            (Some(200_000), Some(8_000), true),
            (Some(8_000), Some(8_000), false),
            (Some(8_000), Some(200_000), false),
            (None, Some(8_000), true),
            // More than the request is thought to have.
            (Some(1_001), None, true),
            (Some(1_000), None, false),
            (None, None, false),
        ];
        for (other, failed, expected) in table {
            assert_eq!(takes_more(other, failed, REQUEST), expected, "{other:?} {failed:?}");
        }
    }

    #[test]
    fn two_that_are_drawn_differ_as_far_as_there_are_two() {
        assert_eq!([two_below(0, u64::MAX), two_below(1, u64::MAX)], [[0, 0], [0, 0]]);
        for n in 2..9 {
            let mut seen = vec![0; n];
            for _ in 0..10_000 {
                let [one, other] = two_below(n, fastrand::u64(..));
                assert!(one != other && one < n && other < n);
                seen[one] += 1;
                seen[other] += 1;
            }
            assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
        }
    }
}

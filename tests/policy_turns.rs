//! Turns, whatever comes, goes, ends and leaves in whatever order, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;
use trunkline::policy::adaptive::{Adaptive, AdaptivePolicy};
use trunkline::policy::learn::{Learned, Reset, Sample};
use trunkline::policy::rate::{Cost, RateLimiter, RateLimits, Reservoir};
use trunkline::policy::schedule::Place;
use trunkline::policy::turns::{AtOnce, Held, Next, Turns, Used};

const AGING: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const HEAVY: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// A call of this class, of the usual weight or a heavy one.
    Come(usize, bool),
    /// One that waits goes away.
    Leave(Index),
    /// One that is under way ends: never sent, or sent.
    End(Index, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..2500).prop_map(Step::Pass),
        8 => (0_usize..4, prop::bool::weighted(0.2)).prop_map(|(class, heavy)| Step::Come(class, heavy)),
        2 => any::<Index>().prop_map(Step::Leave),
        5 => (any::<Index>(), any::<bool>()).prop_map(|(which, sent)| Step::End(which, sent)),
    ];
    vec(step, 1..200)
}

/// One who waits: when it came, and how far down its class puts it.
#[derive(Clone, Copy, Debug)]
struct Waits {
    place: Place,
    due: Instant,
    weight: u64,
}

fn cost(weight: u64) -> Cost {
    Cost { requests: weight as f64, tokens: 10 }
}

struct World {
    turns: Turns<u64>,
    now: Instant,
    /// By its number, which ascends as they come.
    waiting: BTreeMap<u64, Waits>,
    /// With their weights.
    held: Vec<(Held, u64)>,
    /// The weights of those that were sent.
    sent: u64,
}

impl World {
    fn new(limit: usize, limits: &RateLimits) -> Self {
        let now = Instant::now();
        let turns = Turns::new(AtOnce::Fixed(limit), RateLimiter::new(limits, now));
        Self { turns, now, waiting: BTreeMap::new(), held: Vec::new(), sent: 0 }
    }

    fn step(&mut self, number: u64, step: &Step) {
        match step {
            Step::Pass(ms) => self.now += Duration::from_millis(*ms),
            Step::Come(class, is_heavy) => {
                let weight = if *is_heavy { HEAVY } else { 1 };
                if let Some(held) = self.turns.go(cost(weight), self.now) {
                    assert!(self.waiting.is_empty(), "it overtook those who wait");
                    self.held.push((held, weight));
                } else {
                    let place = self.turns.join(*class, self.now, AGING, cost(weight), number);
                    let due = self.now + AGING * u32::try_from(*class).unwrap();
                    self.waiting.insert(number, Waits { place, due, weight });
                }
            }
            Step::Leave(which) if !self.waiting.is_empty() => {
                let number = *self.waiting.keys().nth(which.index(self.waiting.len())).unwrap();
                self.turns.leave(self.waiting.remove(&number).unwrap().place);
            }
            Step::End(which, is_sent) if !self.held.is_empty() => {
                let (held, weight) = self.held.swap_remove(which.index(self.held.len()));
                self.sent += if *is_sent { weight } else { 0 };
                let used = if *is_sent { Used::Tokens(None) } else { Used::Nothing };
                self.turns.end(held, used, self.now);
            }
            Step::Leave(_) | Step::End(..) => {}
        }
    }

    /// Lets go whoever may; says when somebody will.
    fn serve(&mut self) -> Option<Instant> {
        loop {
            match self.turns.next(self.now) {
                Next::Go(number, held) => {
                    let first = self.waiting.iter().min_by_key(|(number, one)| (one.due, **number));
                    assert_eq!(Some(&number), first.map(|(number, _)| number), "not the first in line");
                    let weight = self.waiting.remove(&number).unwrap().weight;
                    self.held.push((held, weight));
                }
                Next::At(at) => return Some(at),
                Next::Nobody => return None,
            }
        }
    }
}

/// A limit of ten a second, of which nine are left.
fn nine_of_ten() -> Learned {
    let reset = Some(Reset { after: Duration::from_millis(100), grain: Duration::from_millis(1) });
    Learned { requests: Some(Sample { limit: 10.0, remaining: 9.0, reset }), tokens: None }
}

#[test]
fn a_refusal_is_told_to_the_limit_of_calls_at_once_and_to_the_rate() {
    let now = Instant::now();
    let at_once = AtOnce::Adaptive(Adaptive::new(AdaptivePolicy::default()));
    let mut turns: Turns<u64> = Turns::new(at_once, RateLimiter::new(&RateLimits::default(), now));
    turns.learn(&nine_of_ten(), None, now);
    let held = turns.go(cost(1), now).unwrap();
    let before = turns.at_once.limit();
    turns.answered(Some(Duration::from_millis(1)), true, now);
    assert!(turns.at_once.limit() < before);
    assert!(turns.rate.ready_at(cost(1), now) > now, "nothing is left of what was learned");
    turns.end(held, Used::Tokens(None), now);
}

#[test]
fn an_answer_that_is_no_refusal_takes_nothing_of_the_rate() {
    let now = Instant::now();
    let mut turns: Turns<u64> = Turns::new(AtOnce::Unlimited, RateLimiter::new(&RateLimits::default(), now));
    turns.learn(&nine_of_ten(), None, now);
    turns.answered(Some(Duration::from_millis(1)), false, now);
    assert_eq!(turns.rate.ready_at(cost(1), now), now);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_first_in_line_goes_as_soon_as_there_is_room_and_never_more_than_the_limit(
        steps in steps(),
        limit in 1_usize..5,
        rate in 1.0_f64..50.0,
    ) {
        let limits = RateLimits { requests_per_second: Some(rate), ..RateLimits::default() };
        let mut world = World::new(limit, &limits);
        for (number, step) in (0..).zip(&steps) {
            world.step(number, step);
            let wake = world.serve();
            prop_assert!(world.held.len() <= limit);
            prop_assert_eq!(world.turns.under_way(), world.held.len());
            prop_assert_eq!(world.turns.waiting(), world.waiting.len());
            prop_assert_eq!(world.turns.depth().iter().sum::<usize>(), world.waiting.len());
            if world.waiting.is_empty() || world.held.len() == limit {
                prop_assert!(wake.is_none());
                continue;
            }
            // Room and somebody who waits: time alone keeps it, and when that has come, it goes.
            let at = wake.unwrap();
            prop_assert!(at > world.now);
            world.now = at;
            let before = world.waiting.len();
            world.serve();
            prop_assert!(world.waiting.len() < before, "woken for nothing");
        }
    }

    /// A stock that is not filled up again counts to the last one.
    #[test]
    fn every_reservation_is_returned_once_whatever_is_cancelled(steps in steps(), amount in HEAVY..200) {
        let reservoir = Some(Reservoir { amount, interval: DAY });
        let limits = RateLimits { reservoir, ..RateLimits::default() };
        let mut world = World::new(3, &limits);
        for (number, step) in (0..).zip(&steps) {
            world.step(number, step);
            world.serve();
            prop_assert!(world.sent + world.held.iter().map(|(_, weight)| weight).sum::<u64>() <= amount);
        }
        while let Some((_, one)) = world.waiting.pop_first() {
            world.turns.leave(one.place);
        }
        for (held, _) in std::mem::take(&mut world.held) {
            world.turns.end(held, Used::Nothing, world.now);
        }
        prop_assert_eq!((world.turns.under_way(), world.turns.waiting()), (0, 0));
        let mut left = 0;
        while let Some(held) = world.turns.go(cost(1), world.now) {
            world.turns.end(held, Used::Tokens(None), world.now);
            left += 1;
        }
        prop_assert_eq!(left, amount - world.sent);
    }
}

//! Turns, whatever comes, goes, ends and leaves in whatever order, in virtual time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use tokio::time::Instant;
use trunkline::policy::rate::{Cost, RateLimiter, RateLimits, Reservoir};
use trunkline::policy::schedule::Place;
use trunkline::policy::turns::{AtOnce, Held, Next, Turns, Used};

const AGING: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const COST: Cost = Cost { requests: 1.0, tokens: 10 };

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// A call of this class.
    Come(usize),
    /// One that waits goes away.
    Leave(Index),
    /// One that is under way ends: never sent, or sent.
    End(Index, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..2500).prop_map(Step::Pass),
        8 => (0_usize..4).prop_map(Step::Come),
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
}

struct World {
    turns: Turns<u64>,
    now: Instant,
    /// By its number, which ascends as they come.
    waiting: BTreeMap<u64, Waits>,
    held: Vec<Held>,
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
            Step::Come(class) => match self.turns.go(COST, self.now) {
                Some(held) => {
                    assert!(self.waiting.is_empty(), "it overtook those who wait");
                    self.held.push(held);
                }
                None => {
                    let place = self.turns.join(*class, self.now, AGING, COST, number);
                    let due = self.now + AGING * u32::try_from(*class).unwrap();
                    self.waiting.insert(number, Waits { place, due });
                }
            },
            Step::Leave(which) if !self.waiting.is_empty() => {
                let number = *self.waiting.keys().nth(which.index(self.waiting.len())).unwrap();
                self.turns.leave(self.waiting.remove(&number).unwrap().place);
            }
            Step::End(which, is_sent) if !self.held.is_empty() => {
                let held = self.held.swap_remove(which.index(self.held.len()));
                self.sent += u64::from(*is_sent);
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
                    self.waiting.remove(&number);
                    self.held.push(held);
                }
                Next::At(at) => return Some(at),
                Next::Nobody => return None,
            }
        }
    }
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
    fn every_reservation_is_returned_once_whatever_is_cancelled(steps in steps(), amount in 1_u64..200) {
        let reservoir = Some(Reservoir { amount, interval: DAY });
        let limits = RateLimits { reservoir, ..RateLimits::default() };
        let mut world = World::new(3, &limits);
        for (number, step) in (0..).zip(&steps) {
            world.step(number, step);
            world.serve();
            prop_assert!(world.sent + world.held.len() as u64 <= amount);
        }
        while let Some((_, one)) = world.waiting.pop_first() {
            world.turns.leave(one.place);
        }
        for held in std::mem::take(&mut world.held) {
            world.turns.end(held, Used::Nothing, world.now);
        }
        prop_assert_eq!((world.turns.under_way(), world.turns.waiting()), (0, 0));
        let mut left = 0;
        while let Some(held) = world.turns.go(COST, world.now) {
            world.turns.end(held, Used::Tokens(None), world.now);
            left += 1;
        }
        prop_assert_eq!(left, amount - world.sent);
    }
}

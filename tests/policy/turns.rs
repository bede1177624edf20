//! Turns, whatever comes, goes, ends and leaves in whatever order, in virtual time.

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
use trunkline::policy::schedule::{IN_A_ROW, Place};
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

/// One who waits, and when it is due: when it came, and later by its class.
#[derive(Clone, Copy, Debug)]
struct Waits {
    place: Place,
    class: usize,
    due: Instant,
    weight: u64,
    /// Once it is due: how many more turns can be given to others before it.
    patience: Option<usize>,
}

/// To whom a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    /// The most urgent, who was due first as well.
    First,
    /// The most urgent, over whoever was due first.
    Over,
    /// Whoever was due first, though others were more urgent.
    Aged,
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
    /// The turns that were waited for.
    went: Vec<Went>,
}

impl World {
    fn new(limit: usize, limits: &RateLimits) -> Self {
        let now = Instant::now();
        let turns = Turns::new(AtOnce::Fixed(limit), RateLimiter::new(limits, now));
        Self { turns, now, waiting: BTreeMap::new(), held: Vec::new(), sent: 0, went: Vec::new() }
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
                    let one = Waits { place, class: *class, due, weight, patience: None };
                    self.waiting.insert(number, one);
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

    /// A turn goes to this one: by the law?
    fn note(&mut self, number: u64) {
        let (now, in_a_row) = (self.now, IN_A_ROW as usize);
        let urgent = self.waiting.iter().min_by_key(|(number, one)| (one.class, one.due, **number)).unwrap();
        let due = self.waiting.iter().min_by_key(|(number, one)| (one.due, **number)).unwrap();
        let went = match (number == *urgent.0, number == *due.0) {
            (true, true) => Went::First,
            (true, false) => Went::Over,
            (false, true) => Went::Aged,
            (false, false) => panic!("{number} is not the first in any line: {:?}", self.waiting),
        };
        let over = self.went.iter().rev().take_while(|went| **went == Went::Over).count();
        assert!(went != Went::Over || over < in_a_row, "{number} went over whoever was due first once more");
        assert!(went != Went::Aged || over == in_a_row, "{number} went before the more urgent, {over} after");
        self.went.push(went);
        let dues: Vec<_> = self.waiting.iter().map(|(number, one)| (one.due, *number)).collect();
        for (other, one) in self.waiting.iter_mut().filter(|(other, one)| **other != number && one.due <= now)
        {
            let ahead = dues.iter().filter(|due| **due < (one.due, *other)).count();
            let left = one.patience.unwrap_or((in_a_row + 1) * (ahead + 1) - 1).checked_sub(1);
            one.patience = Some(left.unwrap_or_else(|| panic!("{other} starves")));
        }
    }

    /// Lets go whoever may; says when somebody will.
    fn serve(&mut self) -> Option<Instant> {
        loop {
            match self.turns.next(self.now) {
                Next::Go(number, held) => {
                    self.note(number);
                    let weight = self.waiting.remove(&number).unwrap().weight;
                    self.held.push((held, weight));
                }
                Next::At(at) => return Some(at),
                Next::Nobody | Next::Ask => return None,
            }
        }
    }
}

/// Calls of these classes that keep coming, each as soon as the one before has gone, behind so many background calls that came long ago.
/// One goes at a time. Returns who went.
fn behind_a_backlog(backlog: usize, classes: &[usize]) -> Vec<usize> {
    let mut now = Instant::now();
    let mut turns = Turns::new(AtOnce::Fixed(1), RateLimiter::new(&RateLimits::default(), now));
    let mut held = turns.go(cost(1), now).unwrap();
    for _ in 0..backlog {
        turns.join(3, now, AGING, cost(1), 3);
    }
    now += AGING * 100;
    let mut went = Vec::new();
    for class in classes {
        turns.join(*class, now, AGING, cost(1), *class);
        turns.end(held, Used::Tokens(None), now);
        let Next::Go(class, next) = turns.next(now) else { panic!("nobody goes") };
        went.push(class);
        held = next;
    }
    turns.end(held, Used::Tokens(None), now);
    went
}

#[test]
fn of_an_old_backlog_every_fourth_goes_while_the_urgent_fill_the_line() {
    for class in 0..3 {
        let went = behind_a_backlog(100, &[class; 100]);
        let background = went.iter().filter(|class| **class == 3).count();
        assert_eq!((background, went.len()), (25, 100));
        assert!(went.chunks(4).all(|four| four == [class, class, class, 3]), "{went:?}");
    }
}

/// What becomes of calls that wait for something else once they have their turns.
#[derive(Clone, Debug)]
enum Ride {
    Pass(u64),
    Come(u64),
    /// One that has its turn goes, if it still may.
    Go(Index),
    /// One that has its turn, gone or not, ends.
    End(Index, bool),
}

fn rides() -> impl Strategy<Value = Vec<Ride>> {
    let ride = prop_oneof![
        3 => (0_u64..1500).prop_map(Ride::Pass),
        8 => (1_u64..=HEAVY).prop_map(Ride::Come),
        6 => any::<Index>().prop_map(Ride::Go),
        2 => (any::<Index>(), any::<bool>()).prop_map(|(which, sent)| Ride::End(which, sent)),
    ];
    vec(ride, 1..120)
}

/// Whoever has its turn, its weight, and when it went.
struct Rides {
    held: Held,
    weight: u64,
    went: Option<Instant>,
}

/// Of those that went in the end, when and with what weight.
fn ride(rides: &[Ride], limits: &RateLimits) -> Vec<(Instant, u64)> {
    let mut now = Instant::now();
    let mut turns: Turns<u64> = Turns::new(AtOnce::Unlimited, RateLimiter::new(limits, now));
    let (mut all, mut ended) = (Vec::new(), Vec::new());
    for (number, step) in rides.iter().enumerate() {
        match step {
            Ride::Pass(ms) => now += Duration::from_millis(*ms),
            Ride::Come(weight) => match turns.go(cost(*weight), now) {
                Some(held) => all.push(Rides { held, weight: *weight, went: None }),
                None => drop(turns.join(1, now, AGING, cost(*weight), *weight)),
            },
            Ride::Go(which) if !all.is_empty() => {
                let one: Rides = all.swap_remove(which.index(all.len()));
                if one.went.is_some() {
                    all.push(one);
                } else if let Some(held) = turns.renew(one.held, cost(one.weight), now) {
                    all.push(Rides { held, went: Some(now), weight: one.weight });
                }
            }
            Ride::End(which, is_sent) if !all.is_empty() => {
                let Rides { held, weight, went } = all.swap_remove(which.index(all.len()));
                let is_sent = *is_sent && went.is_some();
                turns.end(held, if is_sent { Used::Tokens(None) } else { Used::Nothing }, now);
                ended.extend(went.filter(|_| is_sent).map(|at| (at, weight)));
            }
            Ride::Go(_) | Ride::End(..) => {}
        }
        while let Next::Go(weight, held) = turns.next(now) {
            // Whoever gets its turn now could go now, or it would come back at once.
            let went = number.is_multiple_of(3).then_some(now);
            let held = if went.is_some() { turns.renew(held, cost(weight), now).unwrap() } else { held };
            all.push(Rides { held, weight, went });
        }
    }
    ended.extend(all.into_iter().filter_map(|one| Some((one.went?, one.weight))));
    ended.sort_unstable();
    ended
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

    #[test]
    fn no_window_sees_more_go_than_burst_and_rate_however_long_they_waited_with_their_turns(
        rides in rides(),
        rate in 0.5_f64..20.0,
        burst in 3.0_f64..10.0,
    ) {
        let limits =
            RateLimits { requests_per_second: Some(rate), burst: Some(burst), ..RateLimits::default() };
        let went = ride(&rides, &limits);
        for (first, (from, _)) in went.iter().enumerate() {
            let mut sum = 0.0;
            for (to, weight) in &went[first..] {
                sum += *weight as f64;
                let most = burst + rate * (*to - *from).as_secs_f64();
                prop_assert!(sum <= most + 1e-6, "{} went where {} may", sum, most);
            }
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

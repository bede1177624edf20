use super::terms::CALLS;
use super::*;
use crate::policy::rate::RateLimits;

const ONE: Cost = Cost { requests: 1.0, tokens: 0 };

fn a_hundred_a_second() -> RateLimits {
    RateLimits { requests_per_second: Some(100.0), ..RateLimits::default() }
}

fn lent(rate: &RateLimits, places: Option<usize>) -> Lent {
    Lent::new(Terms::of(rate, places).unwrap())
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What a store replies that has so much at once, and gives all that is wanted.
fn gives(question: &Question, free: f64) -> Reply {
    Reply { give: Some(question.want), free: vec![free; question.limits.len()], ..Reply::default() }
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_it_is_lent_and_then_as_much_as_was() {
    let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
    assert_eq!(lent.ready(ONE, now), Ready::Ask);
    assert_eq!(lent.due(true, 0, now), Some(now));
    let question = lent.question(Some(ONE), 3, 0, now);
    assert_eq!((question.need[CALLS], question.want[CALLS]), (1.0, 3.0));
    assert_eq!(lent.due(true, 0, now), None, "one question at a time");
    lent.reply(gives(&question, 90.0), 0, now);
    for _ in 0..3 {
        assert_eq!(lent.ready(ONE, now), Ready::At(now));
        assert!(lent.take(ONE, now).is_some());
    }
    assert_eq!(lent.ready(ONE, now), Ready::Ask);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_flowed_in_yet_is_used_when_it_has() {
    let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
    let question = lent.question(Some(ONE), 4, 0, now);
    lent.reply(gives(&question, 2.0), 0, now);
    for _ in 0..2 {
        assert!(lent.take(ONE, now).is_some());
    }
    for n in 1..=2 {
        let at = now + ms(10 * n);
        assert_eq!(lent.ready(ONE, now), Ready::At(at));
        assert!(lent.take(ONE, at).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_is_void_after_its_span_and_goes_back_less_what_flowed_in() {
    let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
    let question = lent.question(Some(ONE), 30, 0, now);
    lent.reply(gives(&question, 90.0), 0, now);
    lent.take(ONE, now).unwrap();
    let later = now + SPAN;
    assert_eq!(lent.ready(ONE, later), Ready::Ask);
    assert!(lent.due(false, 0, later).is_some());
    let question = lent.question(None, 0, 0, later);
    assert!((question.back[0] - (29.0 - 10.0)).abs() < 1e-6, "{question:?}");
    assert_eq!(question.want, [0.0; 3]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_in_a_question_that_is_lost_is_not_given_back_again_and_what_is_owed_is() {
    let tokens = RateLimits { tokens_per_minute: Some(60_000.0), ..RateLimits::default() };
    let (mut lent, now) = (lent(&tokens, None), Instant::now());
    let cost = Cost { requests: 1.0, tokens: 500 };
    let question = lent.question(Some(cost), 2, 0, now);
    lent.reply(gives(&question, 1000.0), 0, now);
    let [less, more] = [(); 2].map(|()| lent.take(cost, now).unwrap());
    lent.settle(less, 100, now);
    assert_eq!(lent.question(None, 0, 0, now).back, [400.0]);
    lent.unanswered();
    lent.settle(more, 600, now);
    assert_eq!(lent.question(None, 0, 0, now).back, [-100.0]);
    lent.unanswered();
    assert_eq!(lent.question(None, 0, 0, now).back, [-100.0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_sent_leaves_its_permit_to_the_next() {
    let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
    let question = lent.question(Some(ONE), 1, 0, now);
    lent.reply(gives(&question, 90.0), 0, now);
    let mark = lent.take(ONE, now).unwrap();
    assert_eq!(lent.ready(ONE, now), Ready::Ask);
    lent.give_back(mark, now);
    assert_eq!(lent.ready(ONE, now), Ready::At(now));
}

#[tokio::test(start_paused = true)]
async fn with_many_calls_more_is_asked_for_before_anybody_waits() {
    let (mut lent, now) = (lent(&a_hundred_a_second(), None), Instant::now());
    let question = lent.question(Some(ONE), 10, 0, now);
    lent.reply(gives(&question, 90.0), 0, now);
    for _ in 0..4 {
        lent.take(ONE, now).unwrap();
    }
    assert_eq!(lent.due(false, 0, now), Some(now + SPAN), "to give back what is left");
    for _ in 0..3 {
        lent.take(ONE, now).unwrap();
    }
    assert_eq!(lent.due(false, 0, now), Some(now));
    assert_eq!(lent.question(None, 0, 0, now).want[CALLS], 7.0);
}

#[tokio::test(start_paused = true)]
async fn places_beyond_the_share_go_to_others_as_calls_end() {
    let (mut lent, now) = (lent(&RateLimits::default(), Some(10)), Instant::now());
    assert_eq!(lent.places(), Some(0));
    lent.question(Some(ONE), 10, 0, now);
    lent.reply(Reply { places: 10, ..Reply::default() }, 0, now);
    assert_eq!(lent.places(), Some(10));
    lent.question(Some(ONE), 5, 10, now);
    lent.reply(Reply { places: 10, fair: Some(5), ..Reply::default() }, 10, now);
    assert_eq!(lent.places(), Some(10));
    for under_way in [9, 8, 7, 6, 5, 4] {
        lent.ended(under_way);
        assert_eq!(lent.places(), Some(under_way.max(5)));
    }
    assert!(lent.due(false, 4, now).is_some());
    assert_eq!(lent.question(None, 0, 4, now).places.unwrap().keep, 4);
}

#[test]
fn alone_it_stands_in_nobodys_way_and_refused_in_everybodys() {
    let (mut lent, now) = (lent(&a_hundred_a_second(), Some(3)), Instant::now());
    lent.set_standing(Standing::Alone);
    assert_eq!((lent.ready(ONE, now), lent.places()), (Ready::At(now), None));
    assert_eq!(lent.due(true, 1, now), None);
    lent.set_standing(Standing::Refused);
    assert_eq!((lent.ready(ONE, now), lent.places()), (Ready::Ask, Some(0)));
}

#[test]
fn a_bucket_is_smaller_by_what_flows_while_permits_are_lent() {
    let terms = Terms::of(&a_hundred_a_second(), None).unwrap();
    assert_eq!(terms.limits, [terms::Limit { of: CALLS, capacity: 90.0, rate: 100.0, interval: 0.0 }]);
    let slow = RateLimits { requests_per_second: Some(0.5), ..RateLimits::default() };
    assert_eq!(Terms::of(&slow, None).unwrap().limits[0].capacity, 1.0);
    assert!(Terms::of(&RateLimits::default(), None).is_none());
}

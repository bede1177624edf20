use super::*;

const LEFT: Duration = Duration::from_secs(600);

fn status(status: u16) -> Failure {
    Failure::Status { status, retry_after: None, should_retry: None, meaning: Meaning::Plain }
}

fn means(status: u16, meaning: Meaning) -> Failure {
    Failure::Status { status, retry_after: None, should_retry: None, meaning }
}

fn should(status: u16, should_retry: bool, meaning: Meaning) -> Failure {
    Failure::Status { status, retry_after: None, should_retry: Some(should_retry), meaning }
}

#[test]
fn the_table_row_by_row() {
    use Failure::*;
    use Meaning::*;
    let three = Duration::from_secs(3);
    let told = |status, meaning| Status { status, retry_after: Some(three), should_retry: None, meaning };
    const KEY: bool = true;
    const NO_KEY: bool = false;
    // What happened; the same target again; another key first; the next target.
    let table = [
        (Connect, Again::AfterDelay, NO_KEY, Next::Yes),
        (Tls, Again::Never, NO_KEY, Next::Yes),
        (Denied, Again::Never, NO_KEY, Next::Yes),
        (Queue, Again::Never, NO_KEY, Next::Yes),
        (Circuit, Again::Never, NO_KEY, Next::Yes),
        (Unprocessed, Again::Free, NO_KEY, Next::Yes),
        (Refused, Again::Free, NO_KEY, Next::Yes),
        (NoResponseReused, Again::AtOnce, NO_KEY, Next::Yes),
        (NoResponseFresh, Again::AfterDelay, NO_KEY, Next::Yes),
        (Silence, Again::Never, NO_KEY, Next::Yes),
        (status(408), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(409), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(500), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(502), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(503), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(504), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(520), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(524), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(526), Again::AfterDelay, NO_KEY, Next::Yes),
        (status(529), Again::AfterDelay, NO_KEY, Next::Yes),
        (told(503, Plain), Again::After(three), NO_KEY, Next::Yes),
        (told(429, Plain), Again::After(three), KEY, Next::Yes),
        (status(429), Again::AfterDelay, KEY, Next::Yes),
        (told(429, Quota), Again::Never, KEY, Next::Yes),
        (means(429, Quota), Again::Never, KEY, Next::Yes),
        (means(402, Quota), Again::Never, KEY, Next::Yes),
        (means(400, Quota), Again::Never, KEY, Next::Yes),
        (status(401), Again::WithNewKey, KEY, Next::Yes),
        (status(403), Again::Never, KEY, Next::Yes),
        (status(421), Again::Elsewhere, NO_KEY, Next::Yes),
        (means(400, ContextLength), Again::Never, NO_KEY, Next::LargerContext),
        (means(413, ContextLength), Again::Never, NO_KEY, Next::LargerContext),
        (means(400, ContentFilter), Again::Never, NO_KEY, Next::IfRouteSaysSo),
        (status(404), Again::Never, NO_KEY, Next::Yes),
        (status(301), Again::Never, NO_KEY, Next::Never),
        (status(400), Again::Never, NO_KEY, Next::Never),
        (status(413), Again::Never, NO_KEY, Next::Never),
        (status(422), Again::Never, NO_KEY, Next::Never),
        (status(501), Again::Never, NO_KEY, Next::Never),
        (status(505), Again::Never, NO_KEY, Next::Never),
        // Not in the table; the server's failure all the same.
        (status(530), Again::Never, NO_KEY, Next::Yes),
        (should(400, true, Plain), Again::AfterDelay, NO_KEY, Next::Yes),
        (should(400, false, Plain), Again::Never, NO_KEY, Next::Never),
        (should(500, false, Plain), Again::Never, NO_KEY, Next::Yes),
        (should(429, false, Plain), Again::Never, KEY, Next::Yes),
        (should(429, true, Quota), Again::AfterDelay, KEY, Next::Yes),
        (should(400, true, ContextLength), Again::AfterDelay, NO_KEY, Next::LargerContext),
        (should(400, true, ContentFilter), Again::AfterDelay, NO_KEY, Next::IfRouteSaysSo),
        (InvalidResponse, Again::Never, NO_KEY, Next::Yes),
        (CutUnseen, Again::AfterDelay, NO_KEY, Next::Yes),
        (CutSeen, Again::Never, NO_KEY, Next::IfRecovered),
        (Final, Again::Never, NO_KEY, Next::Never),
    ];
    let statuses = RetryPolicy::default().statuses;
    for (failure, again, key, next) in table {
        assert_eq!(row(failure, &statuses), again, "{failure:?}");
        assert_eq!(other_key(failure), key, "{failure:?}");
        assert_eq!(next_target(failure, &statuses), next, "{failure:?}");
    }
}

#[test]
fn without_retries_there_is_still_the_next_target() {
    let none = RetryPolicy::none();
    for failure in [status(500), status(429), Failure::Connect, Failure::Silence] {
        assert_eq!(none.next_target(failure, true), Next::Yes, "{failure:?}");
    }
    assert_eq!(none.next_target(status(418), true), Next::Never);
    let own = RetryPolicy { statuses: vec![418], ..RetryPolicy::default() };
    assert_eq!(own.next_target(status(418), true), Next::Yes);
}

#[test]
fn what_may_have_been_processed_goes_to_no_other_target_where_that_is_not_safe() {
    let policy = RetryPolicy::default();
    let maybe = [
        status(500),
        status(429),
        Failure::Silence,
        Failure::CutUnseen,
        Failure::InvalidResponse,
        Failure::NoResponseFresh,
    ];
    for failure in maybe {
        assert_eq!(policy.next_target(failure, false), Next::Never, "{failure:?}");
    }
    let certainly_not = [
        Failure::Connect,
        Failure::PutOff,
        Failure::Tls,
        Failure::Queue,
        Failure::Circuit,
        Failure::Refused,
        status(401),
        status(403),
        means(429, Meaning::Quota),
    ];
    for failure in certainly_not {
        assert_eq!(policy.next_target(failure, false), Next::Yes, "{failure:?}");
    }
}

#[test]
fn retries_end_after_their_number() {
    let policy = RetryPolicy::default();
    let mut tries = Tries::default();
    let mut verdict = || policy.judge(status(500), &mut tries, true, LEFT, || true);
    assert!(matches!(verdict(), Verdict::Again { .. }));
    assert!(matches!(verdict(), Verdict::Again { .. }));
    assert_eq!(verdict(), Verdict::Fail);
}

#[test]
fn what_was_not_processed_is_free_three_times_and_then_counts() {
    let policy = RetryPolicy::default();
    let mut tries = Tries::default();
    for _ in 0..5 {
        let verdict = policy.judge(Failure::Unprocessed, &mut tries, false, LEFT, || true);
        assert!(matches!(verdict, Verdict::Again { .. }));
    }
    assert_eq!((tries.free, tries.counted), (3, 2));
    assert_eq!(policy.judge(Failure::Unprocessed, &mut tries, false, LEFT, || true), Verdict::Fail);
}

#[test]
fn what_may_have_been_processed_is_only_repeated_where_that_is_safe() {
    let policy = RetryPolicy::default();
    for failure in
        [status(500), status(429), Failure::NoResponseReused, Failure::NoResponseFresh, Failure::CutUnseen]
    {
        assert_eq!(
            policy.judge(failure, &mut Tries::default(), false, LEFT, || true),
            Verdict::Fail,
            "{failure:?}"
        );
    }
    assert_ne!(policy.judge(Failure::Connect, &mut Tries::default(), false, LEFT, || true), Verdict::Fail);
}

#[test]
fn a_wait_beyond_the_deadline_or_the_cap_is_not_begun() {
    let policy = RetryPolicy::default();
    let after = |seconds| Failure::Status {
        status: 429,
        retry_after: Some(Duration::from_secs(seconds)),
        should_retry: None,
        meaning: Meaning::Plain,
    };
    let judge = |failure, left| {
        policy.judge(failure, &mut Tries::default(), true, Duration::from_secs(left), || true)
    };
    assert_eq!(judge(after(5), 5), Verdict::Fail);
    assert_eq!(judge(after(5), 6), Verdict::Again { delay: Duration::from_secs(5), new_key: false });
    assert_eq!(judge(after(61), 600), Verdict::Fail);
}

#[test]
fn a_refused_key_is_asked_for_again_once() {
    let policy = RetryPolicy::none();
    let mut tries = Tries::default();
    let verdict = Verdict::Again { delay: Duration::ZERO, new_key: true };
    assert_eq!(policy.judge(status(401), &mut tries, false, LEFT, || true), verdict);
    assert_eq!(policy.judge(status(401), &mut tries, false, LEFT, || true), Verdict::Fail);
}

#[test]
fn a_misdirected_request_is_sent_once_more() {
    let mut tries = Tries::default();
    let verdict = Verdict::Again { delay: Duration::ZERO, new_key: false };
    assert_eq!(RetryPolicy::none().judge(status(421), &mut tries, false, LEFT, || true), verdict);
    assert_eq!(RetryPolicy::default().judge(status(421), &mut tries, true, LEFT, || true), Verdict::Fail);
}

#[test]
fn without_retries_only_the_unprocessed_is_sent_again() {
    let policy = RetryPolicy::none();
    assert_eq!(policy.judge(status(500), &mut Tries::default(), true, LEFT, || true), Verdict::Fail);
    assert_ne!(policy.judge(Failure::Unprocessed, &mut Tries::default(), true, LEFT, || true), Verdict::Fail);
}

#[test]
fn without_budget_nothing_is_repeated_but_what_was_not_processed() {
    let policy = RetryPolicy::default();
    let broke = || false;
    assert_eq!(policy.judge(status(500), &mut Tries::default(), true, LEFT, broke), Verdict::Fail);
    let mut tries = Tries::default();
    assert_ne!(policy.judge(Failure::Unprocessed, &mut tries, true, LEFT, broke), Verdict::Fail);
    let asked = std::cell::Cell::new(false);
    let verdict = policy.judge(Failure::Tls, &mut tries, true, LEFT, || asked.replace(true));
    assert_eq!((verdict, asked.get()), (Verdict::Fail, false));
}

#[test]
fn only_a_refusal_as_too_much_asks_for_fewer_calls() {
    let quota =
        Failure::Status { status: 429, retry_after: None, should_retry: None, meaning: Meaning::Quota };
    let all = [status(429), status(529), status(503), status(402), quota, Failure::Silence];
    assert_eq!(all.map(is_throttle), [true, true, false, false, false, false]);
}

#[test]
fn whom_a_failure_is_blamed_on_row_by_row() {
    use Failure::*;
    let of_the_target = [
        Connect,
        Tls,
        NoResponseFresh,
        Silence,
        InvalidResponse,
        CutUnseen,
        CutSeen,
        status(500),
        status(501),
        status(503),
        status(529),
        Status { status: 500, retry_after: None, should_retry: Some(true), meaning: Meaning::Plain },
    ];
    // The caller's mistakes, limits, waits, aborts, and what was never processed.
    let of_nobody = [
        status(301),
        status(400),
        status(401),
        status(404),
        status(408),
        status(421),
        status(429),
        Status { status: 402, retry_after: None, should_retry: None, meaning: Meaning::Quota },
        Denied,
        Queue,
        Circuit,
        NoResponseReused,
        Unprocessed,
        Refused,
        NoResponseReused,
        Final,
    ];
    for failure in of_the_target {
        assert_eq!(blame(failure), Outcome::Failure, "{failure:?}");
    }
    for failure in of_nobody {
        assert_eq!(blame(failure), Outcome::Neutral, "{failure:?}");
    }
}

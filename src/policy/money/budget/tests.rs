use super::*;

const DAY: u64 = 24 * 60 * 60;

fn policy() -> BudgetPolicy {
    BudgetPolicy {
        window: Window::Day,
        all: dollars(10.0),
        models: BTreeMap::new(),
        tenant: Limit::default(),
        alert_at: vec![0.5, 0.8, 1.0],
        blocks: true,
        allows_unpriced: false,
    }
}

fn dollars(limit: f64) -> Limit {
    Limit { usd: Some(Usd::from_dollars(limit)), tokens: None }
}

fn amount(dollars: f64) -> Amount {
    Amount { usd: Usd::from_dollars(dollars), tokens: 10 }
}

fn now() -> Numbers {
    Numbers::at_second(1000 * DAY)
}

#[test]
fn what_is_spoken_for_counts_as_spent_until_it_is_given_back() {
    let (policy, mut purse) = (policy(), Purse::default());
    let limits = policy.limits("p", "m", None);
    let reserve = |purse: &mut Purse, ask| purse.reserve(&policy, &mut limits.clone(), amount(ask), now());
    reserve(&mut purse, 6.0).unwrap();
    let refused = reserve(&mut purse, 4.1).unwrap_err();
    assert!(refused.may_pass_soon && !refused.is_first);
    assert_eq!((refused.standing.spent, refused.standing.reserved), (0.0, 6.0));
    reserve(&mut purse, 4.0).unwrap();
    purse.charge(&policy, &limits, amount(3.0), now());
    purse.release(&limits, amount(6.0));
    reserve(&mut purse, 3.0).unwrap();
    purse.charge(&policy, &limits, amount(7.0), now());
    let refused = reserve(&mut purse, 0.1).unwrap_err();
    assert!(!refused.may_pass_soon && refused.is_first);
    assert!(!reserve(&mut purse, 0.1).unwrap_err().is_first);
}

#[test]
fn a_refused_call_has_spoken_for_nothing_anywhere() {
    let mut policy = policy();
    policy.tenant = dollars(1.0);
    let tenant: Arc<str> = "t".into();
    let mut limits = policy.limits("p", "m", Some(&tenant));
    let mut purse = Purse::default();
    for _ in 0..100 {
        purse.reserve(&policy, &mut limits, amount(2.0), now()).unwrap_err();
    }
    purse.reserve(&policy, &mut policy.limits("p", "m", None), amount(10.0), now()).unwrap();
}

#[test]
fn a_new_window_begins_with_nothing_spent_and_keeps_what_is_spoken_for() {
    let (policy, mut purse) = (policy(), Purse::default());
    let mut limits = policy.limits("p", "m", None);
    purse.reserve(&policy, &mut limits, amount(4.0), now()).unwrap();
    purse.charge(&policy, &limits, amount(6.0), now());
    let tomorrow = Numbers::at_second(1001 * DAY);
    purse.reserve(&policy, &mut limits, amount(6.0), tomorrow).unwrap();
    let refused = purse.reserve(&policy, &mut limits, amount(0.1), tomorrow).unwrap_err();
    assert_eq!(refused.standing.resets_at, 1002 * DAY * 1000);
}

#[test]
fn each_share_is_told_of_once_in_a_window() {
    let (policy, mut purse) = (policy(), Purse::default());
    let limits = policy.limits("p", "m", None);
    let mut shares = |dollars, now| {
        let crossed = purse.charge(&policy, &limits, amount(dollars), now);
        crossed.into_iter().map(|crossed| crossed.share).collect::<Vec<_>>()
    };
    assert_eq!(shares(4.9, now()), [0.0; 0]);
    assert_eq!(shares(0.1, now()), [0.5]);
    assert_eq!(shares(5.0, now()), [0.8, 1.0]);
    assert_eq!(shares(5.0, now()), [0.0; 0]);
    assert_eq!(shares(9.0, Numbers::at_second(1001 * DAY)), [0.5, 0.8]);
}

#[test]
fn models_and_tenants_have_limits_of_their_own() {
    let mut policy = policy();
    policy.models = BTreeMap::from([("p/dear".into(), dollars(2.0)), ("m".into(), dollars(3.0))]);
    policy.tenant = Limit { usd: None, tokens: Some(25) };
    let tenants: [Arc<str>; 2] = ["a".into(), "b".into()];
    let mut purse = Purse::default();
    let mut ask = |provider: &str, model: &str, tenant: Option<&Arc<str>>, dollars| {
        let mut limits = policy.limits(provider, model, tenant);
        let asked = purse.reserve(&policy, &mut limits, amount(dollars), now());
        asked.map_err(|refused| (refused.standing.scope, refused.standing.name))
    };
    assert_eq!(ask("p", "dear", None, 2.5), Err(("model", Some("p/dear".into()))));
    assert_eq!(ask("q", "dear", None, 2.5), Ok(()));
    assert_eq!(ask("q", "m", None, 3.5), Err(("model", Some("m".into()))));
    for tenant in &tenants {
        assert_eq!(ask("q", "n", Some(tenant), 0.1), Ok(()));
        assert_eq!(ask("q", "n", Some(tenant), 0.1), Ok(()));
        assert_eq!(ask("q", "n", Some(tenant), 0.1), Err(("tenant", Some(tenant.clone()))));
    }
    assert_eq!(ask("q", "n", None, 8.0), Err(("all", None)));
}

#[test]
fn where_nothing_is_refused_it_is_still_told_of() {
    let policy = BudgetPolicy { blocks: false, ..policy() };
    let mut purse = Purse::default();
    let mut limits = policy.limits("p", "m", None);
    purse.reserve(&policy, &mut limits, amount(100.0), now()).unwrap();
    let crossed = purse.charge(&policy, &limits, amount(100.0), now());
    assert_eq!(crossed.len(), 3);
}

#[test]
fn a_clock_that_goes_back_lets_nobody_spend_twice() {
    let (policy, mut purse) = (policy(), Purse::default());
    let mut limits = policy.limits("p", "m", None);
    purse.charge(&policy, &limits, amount(9.0), now());
    let yesterday = Numbers::at_second(999 * DAY);
    purse.reserve(&policy, &mut limits, amount(2.0), yesterday).unwrap_err();
    purse.charge(&policy, &limits, amount(1.0), yesterday);
    purse.reserve(&policy, &mut limits, amount(0.1), now()).unwrap_err();
}

//! Which targets a call goes to, over real sockets: those that have words for it, in the order of the route's strategy, with keys, circuits and
//! budgets of their own. What makes one give way to the next is in `call_routes`; the order by itself, without sockets, in `policy_route`.

use crate::routes::*;
use crate::support::*;
use serde_json::{Value, json};
use trunkline::client::{Endpoint, Mode};

#[tokio::test]
async fn what_a_target_has_no_words_for_is_asked_of_the_next() {
    let several = with(json!({ "n": 2 }));
    for (protocols, end) in [
        (["anthropic", "openai"], "ok after yes; seen 0,1; a/m-a > b/m-b ERR_CONFIG"),
        (["openai", "anthropic"], "ok after yes; seen 1,0"),
    ] {
        let site = Routed::speaking(Way::H1, &protocols, json!({ "retry": { "maxRetries": 0 } }));
        let before = site.seen();
        let result = site.call(Endpoint::Chat, &several, json!({})).await;
        assert_eq!(site.told(&result, &before), end, "{protocols:?}");
        let before = site.seen();
        let result = site.stream(Mode::Objects, &several, json!({})).await.result;
        assert_eq!(site.told(&result, &before), end, "{protocols:?}");
    }
    // The error of one that was asked says more than the next one's want of words.
    let site = Routed::speaking(Way::H1, &["openai", "anthropic"], json!({ "retry": { "maxRetries": 0 } }));
    site.fault(0, status(503, Value::Null), json!({}));
    let before = site.seen();
    let result = site.call(Endpoint::Chat, &several, json!({})).await;
    let end = "InternalServer 503 retryable, billed maybe, after maybe; seen 1,0";
    assert_eq!(site.told(&result, &before), end);
    // If none has words for it, nothing is sent, and the first says what it is that it cannot say.
    for protocols in [&["anthropic"][..], &["anthropic", "anthropic"]] {
        let site = Routed::speaking(Way::H1, protocols, json!({}));
        let error = site.call(Endpoint::Chat, &several, json!({})).await.unwrap_err();
        assert!(error.message.starts_with("request.n: "), "{}", error.message);
        assert!(error.attempts.is_empty() && error.provider.as_deref() != Some("m"), "{error:?}");
        assert_eq!((site.seen().iter().sum::<usize>(), site.failovers().len()), (0, 0));
    }
    // Embeddings, which Anthropic has not.
    let site = Routed::speaking(Way::H1, &["anthropic", "openai"], json!({}));
    assert_eq!(Form::Embed.end(&site).await, "ok after yes; seen 0,1; a/m-a > b/m-b ERR_CONFIG");
}

#[tokio::test]
async fn what_a_target_left_out_is_told_of_the_one_that_answered() {
    let request = with(json!({ "frequency_penalty": 0.5 }));
    let dropped = async |protocols: &[&str]| {
        let site = Routed::speaking(Way::H1, protocols, json!({ "retry": { "maxRetries": 0 } }));
        site.fault(0, status(503, Value::Null), json!({}));
        let answer = site.call(Endpoint::Chat, &request, json!({})).await.unwrap();
        meta_of(&answer)["dropped"].clone()
    };
    assert_eq!(dropped(&["anthropic", "openai"]).await, json!([]));
    assert_eq!(dropped(&["openai", "anthropic"]).await, json!(["frequency_penalty"]));
}

#[tokio::test]
async fn a_provider_that_the_call_names_is_asked_and_nobody_else() {
    for form in FORMS {
        let site = Routed::of(Way::H2c, 3, json!({ "retry": { "maxRetries": 0 } }));
        let before = site.seen();
        let result = form.result(&site, json!({ "provider": "b" })).await;
        assert_eq!(site.told(&result, &before), "ok after yes; seen 0,1,0", "{form:?}");
        assert_eq!(site.bodies(1)[0]["model"], if form == Form::Embed { "e" } else { "m" });
        site.fault(1, status(503, Value::Null), json!({}));
        let before = site.seen();
        let result = form.result(&site, json!({ "provider": "b" })).await;
        let end = "InternalServer 503 retryable, billed maybe, after maybe; seen 0,1,0";
        assert_eq!(site.told(&result, &before), end, "{form:?}");
    }
    let site = Routed::of(Way::H1, 2, json!({}));
    let error = Form::Chat.result(&site, json!({ "provider": "nobody" })).await.unwrap_err();
    assert_eq!(error.message, "provider: is no provider; there are a, b");
}

#[tokio::test]
async fn a_name_without_a_route_is_the_first_providers_and_goes_to_nobody_else() {
    let site = Routed::of(Way::H1, 2, json!({ "retry": { "maxRetries": 0 } }));
    site.fault(0, status(503, Value::Null), json!({ "times": 2 }));
    for endpoint in [Endpoint::Chat, Endpoint::Post("/chat/completions".into())] {
        let before = site.seen();
        let result = site.call(endpoint, &with(json!({ "model": "other" })), json!({})).await;
        let end = "InternalServer 503 retryable, billed maybe, after maybe; seen 1,0";
        assert_eq!(site.told(&result, &before), end);
    }
    assert!(site.bodies(0).iter().all(|body| body["model"] == "other"));
}

#[tokio::test]
async fn a_target_whose_circuit_is_open_is_asked_last_and_first_again_when_it_has_recovered() {
    for way in WAYS {
        let breaker = json!({ "failureThreshold": 3, "recoveryTimeout": 200 });
        let site = Routed::of(way, 2, json!({ "circuitBreaker": breaker }));
        site.fault(0, status(500, Value::Null), json!({ "times": 3 }));
        // It fails three times, and opens.
        let end = "ok after maybe,maybe,maybe,yes; seen 3,1; a/m-a > b/m-b ERR_INTERNAL_SERVER";
        assert_eq!(Form::Chat.end(&site).await, end, "{way:?}");
        let is = |state: &str| {
            let states = site.metrics()["circuits"].clone();
            states["a/m-a"]["state"] == state
        };
        if is("open") {
            let end = Form::Chat.end(&site).await;
            // Its time may be over by now.
            assert!(end == "ok after yes; seen 0,1" || end == "ok after yes; seen 1,0", "{way:?} {end}");
        }
        let asked = site.seen()[0];
        until("the probe goes to the first", || !is("open")).await;
        let result = Form::Chat.result(&site, json!({})).await;
        assert!(result.is_ok() && site.seen()[0] > asked.min(3), "{way:?}");
        assert!(is("closed"), "{way:?}");
    }
}

#[tokio::test]
async fn the_circuit_of_each_target_is_its_own() {
    let breaker = json!({ "failureThreshold": 3, "recoveryTimeout": 60_000 });
    let site = Routed::of(Way::H1, 3, json!({ "circuitBreaker": breaker, "retry": { "maxRetries": 0 } }));
    site.fault(0, status(500, Value::Null), json!({ "times": 3 }));
    site.fault(1, status(500, Value::Null), json!({ "times": 2 }));
    for end in ["1,1,1", "1,1,1", "1,1,0"] {
        let told = Form::Chat.end(&site).await;
        assert!(told.contains(&format!("seen {end}")), "{told}");
    }
    // The first is open; the second has had a success.
    assert_eq!(Form::Chat.end(&site).await, "ok after yes; seen 0,1,0");
    site.fault(1, status(500, Value::Null), json!({ "times": 3 }));
    for _ in 0..3 {
        assert!(Form::Chat.end(&site).await.contains("seen 0,1,1"));
    }
    assert_eq!(Form::Chat.end(&site).await, "ok after yes; seen 0,0,1");
    // The last has failed, and the others are not asked: their circuits are open.
    site.fault(2, status(500, Value::Null), json!({}));
    let end = Form::Chat.end(&site).await;
    assert!(end.contains("after maybe,no,no; seen 0,0,1"), "{end}");
}

#[tokio::test]
async fn each_provider_has_a_budget_of_retries_of_its_own() {
    let budget = json!({ "retry": { "budget": { "ratio": 0, "minPerSecond": 0 } } });
    let site = Routed::of(Way::H1, 2, budget);
    site.fault(0, status(500, Value::Null), json!({ "times": OFTEN }));
    // Without a retry, there is still the next target.
    let end = "ok after maybe,yes; seen 1,1; a/m-a > b/m-b ERR_INTERNAL_SERVER";
    assert_eq!(Form::Chat.end(&site).await, end);
}

#[tokio::test]
async fn a_target_of_each_strategy_is_the_one_that_it_promises() {
    let route = |strategy: &str, targets: Value| json!({ "routes": { "m": { "strategy": strategy, "targets": targets } } });
    let target =
        |name: &str, more: Value| merge(json!({ "provider": name, "model": format!("m-{name}") }), more);
    const CALLS: usize = 400;

    // Shares of 8, 2 and none: five standard deviations of the binomial distribution are 40.
    let targets = json!([
        target("a", json!({ "weight": 8 })),
        target("b", json!({ "weight": 2 })),
        target("c", json!({ "weight": 0 }))
    ]);
    let site = Routed::of(Way::H2c, 3, route("weighted", targets));
    for _ in 0..CALLS {
        Form::Chat.result(&site, json!({})).await.unwrap();
    }
    let seen = site.seen();
    assert!(seen[0].abs_diff(320) < 40 && seen[0] + seen[1] == CALLS && seen[2] == 0, "{seen:?}");

    // The cheapest for the request: much input, or much output.
    let targets = json!([target("a", json!({})), target("b", json!({})), target("c", json!({}))]);
    let pricing = json!({ "pricing": { "m-a": { "input": 1, "output": 100 }, "b/m-b": { "input": 10, "output": 10 } } });
    let site = Routed::of(Way::H2c, 3, merge(route("lowest-cost", targets.clone()), pricing));
    let long = json!({ "model": "m", "max_tokens": 10, "messages": [{ "role": "user", "content": "word ".repeat(4000) }] });
    site.call(Endpoint::Chat, &long, json!({})).await.unwrap();
    assert_eq!(site.seen(), [1, 0, 0]);
    site.call(Endpoint::Chat, &with(json!({ "max_tokens": 4000 })), json!({})).await.unwrap();
    assert_eq!(site.seen(), [1, 1, 0]);

    // The one with the fewest calls under way.
    let site = Routed::of(Way::H2c, 3, route("least-busy", targets.clone()));
    for at in 0..3 {
        site.fault(at, json!({ "kind": "silence" }), json!({ "times": OFTEN }));
    }
    let mut held = Vec::new();
    for n in 1..=9 {
        let (client, call) = (site.client.clone(), site.make(Endpoint::Chat, &request(), json!({})));
        held.push(tokio::spawn(async move { client.call(call).await }));
        until("it is under way", || site.seen().iter().sum::<usize>() == n).await;
        let seen = site.seen();
        assert!(seen.iter().max().unwrap() - seen.iter().min().unwrap() <= 1, "{seen:?}");
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
    site.quiet().await;

    // The slow one is soon left alone, whichever of the answer its calls wait for.
    for form in [Form::Chat, Form::Stream] {
        let site = Routed::of(Way::H2c, 3, route("lowest-latency", targets.clone()));
        site.fault(1, json!({ "kind": "slow", "firstToken": 300 }), json!({ "times": 1000 }));
        for _ in 0..100 {
            form.result(&site, json!({})).await.unwrap();
        }
        let seen = site.seen();
        assert!((1..10).contains(&seen[1]) && seen[0] > 10 && seen[2] > 10, "{form:?} {seen:?}");
    }
}

#[tokio::test]
async fn a_target_that_never_answers_is_soon_known_to_be_slow() {
    let targets = json!([{ "provider": "a", "model": "m-a" }, { "provider": "b", "model": "m-b" }]);
    let route = json!({ "routes": { "m": { "strategy": "lowest-latency", "targets": targets } } });
    let site = Routed::of(Way::H2c, 2, merge(route, json!({ "timeouts": { "total": 1_200 } })));
    site.fault(0, json!({ "kind": "silence" }), json!({ "times": 1000 }));
    for _ in 0..20 {
        // Nothing but its deadline ends a call whose answer comes whole.
        let _ = Form::Chat.result(&site, json!({})).await;
    }
    assert_eq!(site.seen()[0], 1, "{:?}", site.seen());
}

#[tokio::test]
async fn hedging_stays_within_a_target_and_its_attempts_are_told() {
    let hedge = json!({ "hedge": { "delay": 20, "budget": 1 }, "retry": { "maxRetries": 0 } });
    let site = Routed::of(Way::H2c, 2, hedge);
    site.fault(0, json!({ "kind": "silence" }), json!({ "times": 1 }));
    site.fault(0, status(503, Value::Null), json!({ "times": 1 }));
    // The first is silent, its rival fails: the race goes on until the first-byte timeout ends it.
    let options = json!({ "timeouts": { "firstByte": 300 } });
    let answer = Form::Stream.result(&site, options).await.unwrap();
    assert_eq!(site.seen()[0], 2);
    assert_eq!(site.failovers(), ["a/m-a > b/m-b ERR_TIMEOUT"]);
    // A busy machine may have the next one hedged, too.
    let attempts = meta_of(&answer)["attempts"].as_array().unwrap().clone();
    let errors =
        attempts.iter().filter(|one| one["provider"] == "a").map(|one| one["error"].as_str().unwrap());
    assert_eq!(errors.collect::<Vec<_>>(), ["ERR_INTERNAL_SERVER", "ERR_TIMEOUT"]);
    assert_eq!(answered_by(&answer), "b/m-b");
}

/// Vectors of two models have nothing to do with each other.
#[tokio::test]
async fn all_parts_of_long_embeddings_are_of_the_same_target() {
    const PART: usize = 2048;
    let inputs = |parts: usize| (0..PART * parts).map(|n| n.to_string()).collect::<Vec<_>>();
    for (parts, failing, seen) in [
        // Two of the first four go to the next, and the others after them, again.
        (3, 2, [3, 3]),
        (6, 2, [4, 6]),
        (2, 0, [2, 0]),
    ] {
        let site = Routed::of(Way::H2c, 2, json!({ "retry": { "maxRetries": 0 } }));
        if failing > 0 {
            site.fault(0, status(503, Value::Null), json!({ "times": failing }));
        }
        let request = json!({ "model": "e", "input": inputs(parts) });
        let answer = site.call(Endpoint::Embeddings, &request, json!({})).await.unwrap();
        let body = body_of(&answer);
        assert_eq!(body["data"].as_array().unwrap().len(), PART * parts);
        assert_eq!(site.seen(), seen, "{parts} {failing}");
        assert_eq!(answered_by(&answer), if failing > 0 { "b/e-b" } else { "a/e-a" });
        // Each part once at the one that answered them all.
        let last = site.bodies(usize::from(failing > 0));
        let mut firsts: Vec<usize> =
            last.iter().map(|body| body["input"][0].as_str().unwrap().parse().unwrap()).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, (0..parts).map(|part| part * PART).collect::<Vec<_>>());
        assert_eq!((site.metric("failedOver"), site.metric("started")), (failing, 1));
    }
    // A chance that falls for each part would mix them, too.
    let targets = json!([{ "provider": "a", "model": "e-a" }, { "provider": "b", "model": "e-b" }]);
    let site =
        Routed::of(Way::H2c, 2, json!({ "routes": { "e": { "strategy": "weighted", "targets": targets } } }));
    let before = site.seen();
    let result =
        site.call(Endpoint::Embeddings, &json!({ "model": "e", "input": inputs(6) }), json!({})).await;
    let told = site.told(&result, &before);
    assert!(told.ends_with("; seen 6,0") || told.ends_with("; seen 0,6"), "{told}");
}

#[tokio::test]
async fn a_key_among_the_headers_of_a_call_goes_to_no_other_provider() {
    for name in ["authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"] {
        let headers = json!({ "headers": { name: "the-callers" } });
        let site = Routed::of(Way::H2c, 2, json!({ "retry": { "maxRetries": 0 } }));
        for (n, form) in FORMS.into_iter().enumerate() {
            site.fault(0, status(503, Value::Null), json!({}));
            assert!(form.result(&site, headers.clone()).await.is_err(), "{form:?}");
            assert_eq!(site.seen(), [n + 1, 0], "{form:?}");
        }
        let named = merge(headers.clone(), json!({ "provider": "b" }));
        Form::Chat.result(&site, named).await.unwrap();
        assert_eq!(site.upstreams[1].requests()[0].headers[name], "the-callers");
        // What names nobody goes wherever the call goes.
        site.fault(0, status(503, Value::Null), json!({}));
        Form::Chat.result(&site, json!({ "headers": { "x-trace": "t" } })).await.unwrap();
        assert_eq!(site.upstreams[1].requests()[1].headers["x-trace"], "t");
        // A fall-back of the same provider is not another one.
        let targets = json!([{ "provider": "a", "model": "m-1" }, { "provider": "a", "model": "m-2" }]);
        let site =
            Routed::of(Way::H2c, 2, json!({ "routes": { "m": targets }, "retry": { "maxRetries": 0 } }));
        site.fault(0, status(503, Value::Null), json!({}));
        let before = site.seen();
        let result = Form::Chat.result(&site, headers).await;
        let end = "ok after maybe,yes; seen 2,0; a/m-1 > a/m-2 ERR_INTERNAL_SERVER";
        assert_eq!(site.told(&result, &before), end);
    }
}

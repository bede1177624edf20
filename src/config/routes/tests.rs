use super::super::{ClientConfig, Environment};
use super::*;
use serde_json::json;

fn parse(options: Value) -> Result<ClientConfig, String> {
    ClientConfig::parse(options, &Environment::default()).map_err(|error| error.message.clone())
}

fn mistake(options: Value) -> String {
    parse(options).unwrap_err()
}

fn route(route: Value) -> Result<RouteConfig, String> {
    let one = |host: &str| json!({ "baseURL": format!("https://{host}.example") });
    let providers = json!({ "main": one("a"), "spare": one("b") });
    let config = parse(json!({ "providers": providers, "routes": { "fast": route } }))?;
    Ok(config.routes["fast"].clone())
}

#[test]
fn a_route_is_a_target_or_several_or_more_about_them() {
    let one = route(json!({ "provider": "spare", "model": "m" })).unwrap();
    let target = |provider, model: Option<&str>| TargetConfig {
        provider,
        model: model.map(Into::into),
        weight: 1.0,
        max_input_tokens: None,
        supports_prefill: None,
    };
    assert_eq!(one.targets, [target(1, Some("m"))]);
    assert_eq!((one.strategy, one.select), (Strategy::Ordered, None));
    let twice = json!([{ "provider": "main" }, { "provider": "main" }]);
    assert_eq!(route(twice).unwrap().targets, [target(0, None), target(0, None)]);
    let more = route(json!({
        "targets": [
            { "provider": "main", "weight": 0, "maxInputTokens": 8000, "supportsPrefill": true },
            { "provider": "spare", "weight": 2.5 },
        ],
        "strategy": "weighted",
    }));
    let more = more.unwrap();
    assert_eq!(more.strategy, Strategy::Weighted);
    assert_eq!((more.targets[0].weight, more.targets[1].weight), (0.0, 2.5));
    assert_eq!(
        (more.targets[0].max_input_tokens, more.targets[0].supports_prefill),
        (Some(8000), Some(true))
    );
    let select = route(json!({ "select": json!({ "\u{0}kind": "a function", "function": 4 }) })).unwrap();
    assert_eq!((select.select, select.targets.len()), (Some(4), 0));
    let strategies = ["ordered", "weighted", "least-busy", "lowest-latency", "lowest-cost"];
    for strategy in strategies {
        assert!(route(json!({ "targets": [{ "provider": "main" }], "strategy": strategy })).is_ok());
    }
}

#[test]
fn without_providers_the_one_at_the_top_is_a_routes_target() {
    let config = parse(json!({ "routes": { "fast": { "provider": "default", "model": "m" } } })).unwrap();
    assert_eq!(config.routes["fast"].targets[0].provider, 0);
    let unknown = json!({ "routes": { "fast": { "provider": "openai" } } });
    assert_eq!(mistake(unknown), "routes.fast.provider: is no provider; there are default");
}

#[test]
fn a_mistake_of_a_route_names_the_target_and_the_place() {
    let main = || json!({ "provider": "main" });
    let with = |more: Value| {
        let mut target = main();
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target
    };
    let strategies = "'ordered', 'weighted', 'least-busy', 'lowest-latency', 'lowest-cost'";
    let table = [
        (
            json!({ "targets": [main(), { "provider": "mian" }] }),
            ".targets[1].provider: is no provider; there are main, spare; did you mean main?".to_owned(),
        ),
        (json!([{ "provider": "sk-secret" }]), "[0].provider: is no provider; there are main, spare".into()),
        (json!({ "provider": 5 }), ".provider: must be a string, got a number (5)".into()),
        (json!({ "model": "m" }), ".provider: must be given".into()),
        (json!([]), ": must not be empty".into()),
        (json!({ "targets": [] }), ".targets: must not be empty".into()),
        (json!({ "strategy": "ordered" }), ".targets: must be given, unless there is select".into()),
        (json!({ "targets": main() }), ".targets: must be an array, got an object".into()),
        (json!([5]), "[0]: must be an object with provider and model, got a number (5)".into()),
        (json!(["main/m"]), "[0]: must be an object with provider and model, got a string".into()),
        (
            json!("main"),
            ": must be a target, an array of targets or an object with targets, got a string".into(),
        ),
        (with(json!({ "weight": -1 })), ".weight: must be a number of 0 or more, got -1".into()),
        (
            with(json!({ "weight": { "\u{0}kind": "NaN" } })),
            ".weight: must be a number of 0 or more, got NaN".into(),
        ),
        (with(json!({ "maxInputTokens": 0 })), ".maxInputTokens: must be a positive integer, got 0".into()),
        (
            with(json!({ "supportsPrefill": 1 })),
            ".supportsPrefill: must be a boolean, got a number (1)".into(),
        ),
        (with(json!({ "model": "" })), ".model: must not be empty".into()),
        (with(json!({ "models": "" })), ".models: is not an option; did you mean routes.fast.model?".into()),
        (
            json!({ "targets": [main()], "strategy": "random" }),
            format!(".strategy: must be one of {strategies}, got 'random'"),
        ),
        (
            json!({ "targets": [with(json!({ "weight": 0 }))], "strategy": "weighted" }),
            ".targets: must have a weight above 0 among them".into(),
        ),
        (json!({ "select": "fast" }), ".select: must be a function, got a string".into()),
    ];
    for (given, message) in table {
        assert_eq!(route(given.clone()).unwrap_err(), format!("routes.fast{message}"), "{given}");
    }
    assert_eq!(mistake(json!({ "routes": { "": {} } })), "routes: a name must not be empty");
    assert_eq!(mistake(json!({ "routes": [] })), "routes: must be an object, got an array");
}

use super::super::{CallKind, CallOptions, ClientConfig};
use super::*;
use crate::policy::adaptive::MaxConcurrency;
use crate::pool::{Http2, Route};
use serde_json::json;
use std::num::NonZeroUsize;
use std::time::Duration;

fn parse(options: Value) -> Result<ClientConfig, String> {
    ClientConfig::parse(options, &environment()).map_err(|error| error.message.clone())
}

/// One that has everything that a provider at the top would be given.
fn environment() -> Environment {
    let named = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
    Environment {
        base_url: named("OPENAI_BASE_URL", "https://relay.example/v1"),
        api_key: named("OPENAI_API_KEY", "sk-openai"),
        anthropic_api_key: named("ANTHROPIC_API_KEY", "sk-anthropic"),
        gemini_api_key: named("GEMINI_API_KEY", "sk-gemini"),
        ..Environment::default()
    }
}

fn mistake(options: Value) -> String {
    parse(options).unwrap_err()
}

/// A mistake of the provider `a`, without the path to it.
fn mistake_of(more: Value) -> String {
    let mut one = json!({ "baseURL": "https://a.example" });
    one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mistake = mistake(json!({ "providers": { "a": one } }));
    mistake.strip_prefix("providers.a.").unwrap_or(&mistake).to_owned()
}

fn function(number: u32) -> Value {
    json!({ "\u{0}kind": "a function", "function": number })
}

/// The keys as they are sent, functions by their number.
fn keys(provider: &ProviderConfig) -> Vec<String> {
    let shown = |key: &Key| match key {
        Key::None => "none".to_owned(),
        Key::Fixed(value) => value.to_str().unwrap().to_owned(),
        Key::Asked(function) => format!("function {function}"),
    };
    provider.keys.iter().map(shown).collect()
}

#[test]
fn the_one_at_the_top_speaks_its_protocol_and_takes_its_key_from_the_environment() {
    let table = [
        ("openai", "https://relay.example", "/v1", "authorization", "Bearer sk-openai"),
        ("anthropic", "https://api.anthropic.com", "", "x-api-key", "sk-anthropic"),
        ("gemini", "https://generativelanguage.googleapis.com", "", "x-goog-api-key", "sk-gemini"),
    ];
    for (protocol, origin, path, header, key) in table {
        let config = parse(json!({ "protocol": protocol })).unwrap();
        let provider = config.default_provider();
        assert_eq!((&*provider.name, config.providers.len()), ("default", 1));
        assert_eq!((provider.base.origin.to_string(), &*provider.base.path), (origin.to_owned(), path));
        assert_eq!(provider.protocol.key_header(), header);
        assert_eq!(keys(provider), [key]);
        let Key::Fixed(value) = &provider.keys[0] else { panic!() };
        assert!(value.is_sensitive());
    }
    let own = parse(json!({ "protocol": "gemini", "apiKey": "own" })).unwrap();
    assert_eq!(keys(own.default_provider()), ["own"]);
    let asked = parse(json!({ "apiKey": function(3) })).unwrap();
    assert_eq!(keys(asked.default_provider()), ["function 3"]);
    let bad = "protocol: must be one of 'openai', 'anthropic', 'gemini', got 'bedrock'";
    assert_eq!(mistake(json!({ "protocol": "bedrock" })), bad);
}

#[test]
fn of_several_the_first_that_is_listed_is_the_default() {
    let one = |host: &str| json!({ "baseURL": format!("https://{host}.example") });
    let listed = json!({ "providers": { "\u{0}entries": [["z", one("z")], ["a", one("a")]] } });
    let config = parse(listed).unwrap();
    let names: Vec<_> = config.providers.iter().map(|provider| &*provider.name).collect();
    assert_eq!(names, ["z", "a"]);
    assert_eq!(&*config.default_provider().name, "z");
}

#[test]
fn a_provider_has_all_that_it_is_given() {
    let config = parse(json!({ "providers": { "azure": {
        "baseURL": "https://x.example/openai/",
        "apiKey": ["one", function(1), "two"],
        "protocol": "anthropic",
        "headers": { "X-Title": "t" },
        "query": { "api-version": "2024-10-21", "q&=": "a b/é" },
    } } }));
    let config = config.unwrap();
    let provider = config.default_provider();
    assert_eq!((provider.base.path.as_str(), provider.protocol), ("/openai", Protocol::Anthropic));
    assert_eq!(keys(provider), ["one", "function 1", "two"]);
    assert_eq!(provider.headers["x-title"], "t");
    assert_eq!(*provider.query, "api-version=2024-10-21&q%26%3D=a%20b%2F%C3%A9");
}

#[test]
fn no_key_of_the_environment_goes_to_one_of_several() {
    let config = parse(json!({ "providers": { "a": { "baseURL": "https://a.example" } } })).unwrap();
    assert_eq!(keys(config.default_provider()), ["none"]);
}

#[test]
fn what_stands_at_the_top_holds_for_all_and_gives_way_member_by_member() {
    let config = parse(json!({
        "timeouts": { "connect": 1000, "idle": 2000 },
        "rateLimit": { "requestsPerSecond": 5, "weights": { "m": 2 } },
        "concurrency": { "max": 7, "maxQueue": 8 },
        "providers": {
            "a": { "baseURL": "https://a.example" },
            "b": {
                "baseURL": "https://b.example",
                "timeouts": { "idle": 9000 },
                "rateLimit": { "requestsPerSecond": 50, "learn": false },
                "concurrency": { "max": "adaptive" },
            },
        },
    }));
    let config = config.unwrap();
    let [a, b] = &*config.providers else { panic!() };
    let ms = Duration::from_millis;
    assert_eq!((a.timeouts.connect, a.timeouts.idle), (ms(1000), ms(2000)));
    assert_eq!((b.timeouts.connect, b.timeouts.idle), (ms(1000), ms(9000)));
    assert_eq!((a.rate.requests_per_second, a.rate.learn), (Some(5.0), true));
    assert_eq!((b.rate.requests_per_second, b.rate.learn, b.rate.weights["m"]), (Some(50.0), false, 2.0));
    let seven = MaxConcurrency::Fixed(NonZeroUsize::new(7).unwrap());
    assert_eq!((a.queue.at_once, a.queue.max), (Some(seven), 8));
    assert_eq!((b.queue.at_once, b.queue.max), (Some(MaxConcurrency::Adaptive), 8));
    assert_eq!(config.timeouts, a.timeouts);
    let call = json!({ "timeouts": { "connect": 3000 } });
    let call = CallOptions::parse(call, CallKind::Whole, &config).unwrap();
    assert_eq!((call.timeouts_at(a).connect, call.timeouts_at(a).idle), (ms(3000), ms(2000)));
    assert_eq!((call.timeouts_at(b).connect, call.timeouts_at(b).idle), (ms(3000), ms(9000)));
}

#[test]
fn a_mistake_names_the_provider_and_the_place() {
    let url = "must be an absolute http or https URL, such as https://api.openai.com/v1";
    let either = "must be a string or a function, or an array of them, got";
    let table = [
        (json!({ "baseURL": "nope" }), format!("baseURL: {url}")),
        (json!({ "apiKey": 5 }), format!("apiKey: {either} a number (5)")),
        (json!({ "apiKey": [] }), "apiKey: must not be empty".into()),
        (json!({ "apiKey": ["k", null] }), "apiKey[1]: must be a string or a function, got null".into()),
        (json!({ "apiKey": ["k", "a\nb"] }), "apiKey[1]: must be visible ASCII without line breaks".into()),
        (json!({ "apiKey": vec!["k"; 65] }), "apiKey: must hold at most 64 keys, got 65".into()),
        (
            json!({ "protocol": "x" }),
            "protocol: must be one of 'openai', 'anthropic', 'gemini', got 'x'".into(),
        ),
        (
            json!({ "headers": { "host": "x" } }),
            "headers.host: is set by the connection, and cannot be given".into(),
        ),
        (json!({ "query": { "v": 1 } }), "query.v: must be a string, got a number (1)".into()),
        (json!({ "query": "v=1" }), "query: must be an object, got a string".into()),
        (
            json!({ "timeouts": { "idle": 0 } }),
            "timeouts.idle: must be a positive number of milliseconds, got 0".into(),
        ),
        (
            json!({ "rateLimit": { "burst": 2 } }),
            "rateLimit.burst: must be given with providers.a.rateLimit.requestsPerSecond or \
             providers.a.rateLimit.requestsPerMinute"
                .into(),
        ),
        (
            json!({ "maxRetries": 2 }),
            "maxRetries: is not an option; there are baseURL, protocol, apiKey, headers, query, timeouts, rateLimit, \
             concurrency, pool"
                .into(),
        ),
        (json!({ "baseUrl": 1 }), "baseUrl: is not an option; did you mean providers.a.baseURL?".into()),
        (json!({ "idle": 1 }), "idle: is not an option; did you mean providers.a.timeouts.idle?".into()),
    ];
    for (more, message) in table {
        assert_eq!(mistake_of(more.clone()), message, "{more}");
    }
    let name = "providers: a name must have 1 to 64 bytes, and no control characters";
    let table = [
        (json!({}), "providers: must name at least one provider"),
        (json!([]), "providers: must be an object, got an array"),
        (json!({ "a": {} }), "providers.a.baseURL: must be given"),
        (json!({ "a": "https://a.example" }), "providers.a: must be an object, got a string"),
        (json!({ "": {} }), name),
        (json!({ "a\u{7}": {} }), name),
        (json!({ "\u{0}entries": [["a", null]] }), "providers.a: must be an object, got null"),
    ];
    for (providers, message) in table {
        assert_eq!(mistake(json!({ "providers": providers })), message);
    }
}

#[test]
fn the_one_at_the_top_and_several_are_not_given_together() {
    let top =
        [("baseURL", json!("https://x.example")), ("apiKey", json!("k")), ("protocol", json!("openai"))];
    for (name, value) in top.into_iter().chain([("headers", json!({}))]) {
        let options = json!({ name: value, "providers": { "a": { "baseURL": "https://a.example" } } });
        let message = format!("{name}: must not be given with providers, each of which has its own");
        assert_eq!(mistake(options), message);
    }
}

#[test]
fn no_mistake_repeats_a_key() {
    assert!(!mistake_of(json!({ "apiKey": ["sk-secret\u{7}"] })).contains("secret"));
    let config = parse(json!({ "providers": { "a": {
        "baseURL": "https://a.example", "apiKey": "sk-secret", "headers": { "x-api-key": "sk-secret" },
    } } }));
    assert!(!format!("{:?}", config.unwrap()).contains("secret"));
}

#[test]
fn an_origin_has_the_pool_settings_of_its_provider_and_the_totals_of_the_client() {
    let config = parse(json!({
        "pool": { "maxConnections": 50, "idleTimeout": 1000, "proxy": "http://proxy.example" },
        "providers": {
            "a": { "baseURL": "https://a.example" },
            "b": {
                "baseURL": "https://b.example",
                "pool": { "http2": "never", "maxConnectionsPerOrigin": 5, "proxy": false, "tls": { "minVersion": "TLSv1.3" } },
            },
            "c": { "baseURL": "https://c.example", "pool": { "idleTimeout": 1000 } },
        },
    }));
    let config = config.unwrap();
    let of = |n: usize| config.pool.of(&config.providers[n].base.origin);
    assert_eq!(of(0), &config.pool);
    let own = of(1);
    assert_eq!((own.http2, own.route.clone(), own.tls.require_tls13), (Http2::Never, Route::Direct, true));
    assert_eq!((own.max_connections_per_origin.get(), own.max_connections.get()), (5, 50));
    assert_eq!(own.idle_timeout, Duration::from_secs(1));
    // What says the same as the client is no setting of its own.
    assert_eq!(config.pool.own.len(), 1);
}

#[test]
fn equal_pool_settings_are_equal_whatever_their_order() {
    let one = |host: &str, http2: &str| json!({ "baseURL": format!("https://{host}.example"), "pool": { "http2": http2 } });
    let pool = |entries: Value| parse(json!({ "providers": { "\u{0}entries": entries } })).unwrap().pool;
    let first = pool(json!([["a", one("a", "never")], ["b", one("b", "prior-knowledge")]]));
    let second = pool(json!([["x", one("b", "prior-knowledge")], ["y", one("a", "never")]]));
    assert_eq!(first, second);
    assert_ne!(first, pool(json!([["a", one("a", "never")], ["b", one("b", "auto")]])));
}

#[test]
fn mistakes_of_a_providers_pool_name_their_place() {
    let all = |name: &str| {
        format!(
            "pool.{name}: is of all providers together, and stands in pool.{name}; a provider has \
             providers.a.pool.maxConnectionsPerOrigin"
        )
    };
    let table = [
        (json!({ "maxConnections": 5 }), all("maxConnections")),
        (json!({ "maxIdleConnections": 5 }), all("maxIdleConnections")),
        (
            json!({ "maxConnectionsPerOrigin": 201 }),
            "pool.maxConnectionsPerOrigin: must not be above pool.maxConnections (200), got 201".into(),
        ),
        (
            json!({ "maxConnectionsPerOrigin": 5, "lanes": { "unary": { "maxConnections": 6 } } }),
            "pool.lanes.unary.maxConnections: must not be above providers.a.pool.maxConnectionsPerOrigin (5), got 6"
                .into(),
        ),
        (
            json!({ "proxy": "http://p.example", "socketPath": "/x" }),
            "pool.socketPath: must not be given with providers.a.pool.proxy".into(),
        ),
        (
            json!({ "noProxy": ["a.example"] }),
            "pool.noProxy: must be given with providers.a.pool.proxy; where that is false, none is used".into(),
        ),
        (
            json!({ "tls": { "cert": "x" } }),
            "pool.tls.key: must be given with providers.a.pool.tls.cert".into(),
        ),
        (
            json!({ "maxAges": 1 }),
            "pool.maxAges: is not an option; did you mean providers.a.pool.maxAge?".into(),
        ),
    ];
    for (pool, message) in table {
        assert_eq!(mistake_of(json!({ "pool": pool })), message);
    }
    let lanes = json!({
        "pool": { "lanes": { "streaming": { "maxConnections": 60 } } },
        "providers": { "a": { "baseURL": "https://a.example", "pool": { "maxConnectionsPerOrigin": 50 } } },
    });
    let error = "providers.a.pool.maxConnectionsPerOrigin: must have room for pool.lanes (60 + 40), got 50";
    assert_eq!(mistake(lanes), error);
    let shared = json!({ "providers": {
        "a": { "baseURL": "https://x.example/a" },
        "b": { "baseURL": "https://x.example/b", "pool": { "http2": "never" } },
    } });
    let error =
        "providers.b.pool: must be as providers.a.pool: both are at https://x.example, and share its sockets";
    assert_eq!(mistake(shared), error);
}

#[test]
fn a_proxy_of_the_environment_is_wrong_only_for_providers_that_go_by_it() {
    let environment = Environment {
        https_proxy: Some(("HTTPS_PROXY".into(), "ftp://p.example".into())),
        ..Environment::default()
    };
    let parse = |pool: Value| {
        let options = json!({ "providers": { "a": { "baseURL": "https://a.example", "pool": pool } } });
        ClientConfig::parse(options, &environment).map_err(|error| error.message.clone())
    };
    assert!(parse(json!({})).unwrap_err().starts_with("HTTPS_PROXY: must be a URL"));
    assert!(parse(json!({ "proxy": false })).is_ok());
}

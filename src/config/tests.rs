use super::*;
use crate::policy::backoff::Strategy;
use serde_json::json;
use std::num::NonZeroUsize;

fn parse(options: Value) -> Result<ClientConfig, Error> {
    ClientConfig::parse(options, &Environment::default())
}

fn mistake(options: Value) -> String {
    parse(options).unwrap_err().message.clone()
}

#[test]
fn nothing_given_is_the_documented_defaults() {
    let config = parse(json!({})).unwrap();
    let provider = config.default_provider();
    assert_eq!(provider.base.origin.to_string(), "https://api.openai.com");
    assert_eq!((provider.base.path.as_str(), &*provider.name), ("/v1", "default"));
    assert_eq!(config.pool, pool::Config::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.retry, RetryPolicy::default());
}

/// In figures, as index.d.ts and the README have them.
#[test]
fn the_defaults_are_the_figures_that_are_documented() {
    let config = parse(json!({ "alerts": {} })).unwrap();
    let ms = |time: Duration| time.as_millis();
    let Timeouts { connect, queue, first_byte, idle, total } = config.timeouts;
    assert_eq!([connect, queue, first_byte, idle, total].map(ms), [10_000, 30_000, 60_000, 30_000, 600_000]);
    let RetryPolicy { max_retries, backoff, max_retry_after, statuses, budget } = config.retry;
    assert_eq!((max_retries, backoff.strategy), (2, Strategy::Exponential));
    assert_eq!([backoff.base, backoff.max, max_retry_after].map(ms), [500, 8000, 60_000]);
    let asked_again: Vec<u16> =
        [408, 409, 429, 500, 502, 503, 504].into_iter().chain(520..=526).chain([529]).collect();
    assert_eq!(statuses, asked_again);
    assert_eq!((budget.ratio, budget.min_per_second), (0.2, 10.0));
    let BreakerPolicy { failure_threshold, failure_ratio, minimum_calls, window, recovery } =
        config.breaker.unwrap();
    assert_eq!((failure_threshold, failure_ratio, minimum_calls), (5, 0.5, 20));
    assert_eq!([window, recovery].map(ms), [10_000, 10_000]);
    let AlertPolicy { error_rate, retry_rate, p99, window } = config.alerts.unwrap();
    assert_eq!((error_rate, retry_rate), (Some(0.01), Some(0.03)));
    assert_eq!((p99.map(ms), ms(window)), (Some(500), 60_000));
    let QueueLimits { at_once, max, aging } = config.providers[0].queue;
    assert_eq!((at_once, max, ms(aging)), (None, 10_000, 5000));
}

#[test]
fn the_environment_is_what_javascript_passes_in() {
    let environment = Environment {
        base_url: Some(("OPENAI_BASE_URL".into(), "http://127.0.0.1:9/v2/".into())),
        api_key: Some(("OPENAI_API_KEY".into(), "k".into())),
        ..Environment::default()
    };
    let config = ClientConfig::parse(json!({}), &environment).unwrap();
    let provider = config.default_provider();
    assert_eq!(
        (provider.base.origin.to_string().as_str(), provider.base.path.as_str()),
        ("http://127.0.0.1:9", "/v2")
    );
    assert!(matches!(*provider.keys, [Key::Fixed(_)]));
    let own = ClientConfig::parse(json!({"baseURL": "http://a.example"}), &environment).unwrap();
    assert_eq!(own.default_provider().base.path, "");
}

#[test]
fn a_mistake_names_the_path_and_the_kind() {
    let table = [
        (json!(7), "options: must be an object, got a number (7)"),
        (json!({"pool": {"maxConnections": -1}}), "pool.maxConnections: must be a positive integer, got -1"),
        (json!({"pool": {"maxConnections": 0}}), "pool.maxConnections: must be a positive integer, got 0"),
        (
            json!({"pool": {"maxConnections": 1.5}}),
            "pool.maxConnections: must be a positive integer, got 1.5",
        ),
        (
            json!({"pool": {"maxConnections": "9"}}),
            "pool.maxConnections: must be a positive integer, got a string",
        ),
        (json!({"pool": []}), "pool: must be an object, got an array"),
        (
            json!({"pool": {"maxConnection": 9}}),
            "pool.maxConnection: is not an option; did you mean pool.maxConnections?",
        ),
        (json!({"timeout": {}}), "timeout: is not an option; did you mean timeouts?"),
        (
            json!({"timeouts": {"total": 0}}),
            "timeouts.total: must be a positive number of milliseconds, got 0",
        ),
        (
            json!({"timeouts": {"total": {"\u{0}kind": "a function"}}}),
            "timeouts.total: must be a positive number of milliseconds, got a function",
        ),
        (
            json!({"retry": {"strategy": "fast"}}),
            "retry.strategy: must be one of 'exponential', 'linear', 'immediate', got 'fast'",
        ),
        (
            json!({"retry": {"statuses": [500, 99]}}),
            "retry.statuses: must hold statuses from 400 to 599, got a number (99)",
        ),
        (json!({"retry": true}), "retry: must be an object or false, got a boolean"),
        (
            json!({"retry": {"baseDelay": 10, "maxDelay": 5}}),
            "retry.baseDelay: must not be above retry.maxDelay (5 ms), got 10",
        ),
        (
            json!({"retry": {"maxDelay": 0.5}}),
            "retry.baseDelay: must not be above retry.maxDelay (0.5 ms), got 500",
        ),
        (
            json!({"baseURL": "nope"}),
            "baseURL: must be an absolute http or https URL, such as https://api.openai.com/v1",
        ),
        (
            json!({"baseURL": "https://user:pw@a.example"}),
            "baseURL: must have no user or password; keys go to apiKey or headers",
        ),
        (json!({"baseURL": "https://a.example/v1#x"}), "baseURL: must have no fragment"),
        (json!({"apiKey": 5}), "apiKey: must be a string or a function, got a number (5)"),
        (json!({"apiKey": "sk-é"}), "apiKey: must be visible ASCII without line breaks"),
        (json!({"apiKey": ""}), "apiKey: must not be empty"),
        (json!({"apiKey": "a\nb"}), "apiKey: must be visible ASCII without line breaks"),
        (
            json!({"headers": {"x-a": "b\r\nc: d"}}),
            "headers.x-a: must hold no line breaks, control characters or characters beyond Latin-1",
        ),
        (json!({"headers": {"x a": "b"}}), "headers.x a: is no name of a header"),
        (json!({"headers": {"Host": "b"}}), "headers.Host: is set by the connection, and cannot be given"),
        (json!({"headers": {"x-a": 1}}), "headers.x-a: must be a string, got a number (1)"),
        (
            json!({"pool": {"tls": {"ca": "nope"}}}),
            "pool.tls.ca: must be PEM text with at least one certificate, and is not",
        ),
        (
            json!({"pool": {"maxConnections": 5, "maxIdleConnections": 6}}),
            "pool.maxIdleConnections: must not be above pool.maxConnections (5), got 6",
        ),
        (json!({"pool": {"dnsTtl": -1}}), "pool.dnsTtl: must be a number of milliseconds, 0 or more, got -1"),
        (
            json!({"pool": {"dnsTtl": "30s"}}),
            "pool.dnsTtl: must be a number of milliseconds, 0 or more, got a string",
        ),
        (
            json!({"pool": {"dnsTtl": 3_000_000_000_u64}}),
            "pool.dnsTtl: must be at most 2147483647 ms, got 3000000000",
        ),
        (json!({"pool": {"dnsTTL": 1}}), "pool.dnsTTL: is not an option; did you mean pool.dnsTtl?"),
        (
            json!({"pool": {"lanes": {"streaming": {"maxConnections": 0}}}}),
            "pool.lanes.streaming.maxConnections: must be a positive integer, got 0",
        ),
        (
            json!({"pool": {"lanes": {"unary": {"maxConnections": 101}}}}),
            "pool.lanes.unary.maxConnections: must not be above pool.maxConnectionsPerOrigin (100), got 101",
        ),
        (
            json!({"pool": {"lanes": {"streaming": {"maxConnections": 100}}}}),
            "pool.lanes: must leave each lane a connection of pool.maxConnectionsPerOrigin (100)",
        ),
        (
            json!({"pool": {"lanes": {"streaming": {"maxConnections": 60}, "unary": {"maxConnections": 41}}}}),
            "pool.lanes: must not be above pool.maxConnectionsPerOrigin (100) together, got 60 + 41",
        ),
        (
            json!({"pool": {"lanes": {"batch": {}}}}),
            "pool.lanes.batch: is not an option; there are streaming, unary",
        ),
        (
            json!({"tenants": {"maxConnections": 201}}),
            "tenants.maxConnections: must not be above pool.maxConnections (200), got 201",
        ),
        (
            json!({"tenants": {"maxConcurrent": 0.5}}),
            "tenants.maxConcurrent: must be a positive integer, got 0.5",
        ),
        (json!({"tenants": {"maxTenants": 0}}), "tenants.maxTenants: must be a positive integer, got 0"),
        (
            json!({"concurrency": {"agingInterval": 0}}),
            "concurrency.agingInterval: must be a positive number of milliseconds, got 0",
        ),
        (
            json!({"concurrency": {"maxQueue": -1}}),
            "concurrency.maxQueue: must be an integer of 0 or more, got -1",
        ),
    ];
    for (options, message) in table {
        assert_eq!(mistake(options.clone()), message, "{options}");
    }
}

#[test]
fn an_unknown_option_is_told_where_it_would_be_one() {
    let table = [
        ("maxRetries", "maxRetries: is not an option; did you mean retry.maxRetries?"),
        ("maxConnections", "maxConnections: is not an option; did you mean pool.maxConnections?"),
        ("baseUrl", "baseUrl: is not an option; did you mean baseURL?"),
        ("timeuots", "timeuots: is not an option; did you mean timeouts?"),
    ];
    for (name, message) in table {
        assert_eq!(mistake(json!({ name: 1 })), message);
    }
    let none = mistake(json!({"foo": 1}));
    let names: Vec<_> = none.split_once("; there are ").unwrap().1.split(", ").collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(names.len(), once.len(), "{none}");
}

#[test]
fn what_is_looked_for_beside_a_section_is_in_it() {
    for (section, names) in section::INSIDE {
        for name in names {
            let error = mistake(json!({ section: { *name: {"\u{0}kind": "a symbol"} } }));
            assert!(error.starts_with(&format!("{section}.{name}: must ")), "{error}");
        }
    }
}

#[test]
fn a_mistake_of_the_environment_names_its_variable() {
    let of = |base: Option<&str>, key: Option<&str>| {
        let environment = Environment {
            base_url: base.map(|url| ("OPENAI_BASE_URL".into(), url.into())),
            api_key: key.map(|key| ("TRUNKLINE_API_KEY".into(), key.into())),
            ..Environment::default()
        };
        ClientConfig::parse(json!({}), &environment).unwrap_err().message.clone()
    };
    assert_eq!(
        of(Some("nope"), None),
        "OPENAI_BASE_URL: must be an absolute http or https URL, such as https://api.openai.com/v1"
    );
    assert_eq!(of(None, Some("é")), "TRUNKLINE_API_KEY: must be visible ASCII without line breaks");
}

#[test]
fn each_kind_of_call_has_its_options() {
    let client = parse(json!({})).unwrap();
    let mistake = |kind, options| CallOptions::parse(options, kind, &client).unwrap_err().message.clone();
    let flush = |interval: u32| json!({ "flushInterval": interval });
    let stream = CallOptions::parse(flush(1000), CallKind::Stream, &client).unwrap();
    assert_eq!(stream.flush_interval, Duration::from_secs(1));
    assert_eq!(mistake(CallKind::Stream, flush(1001)), "flushInterval: must be at most 1000 ms, got 1001");
    for kind in [CallKind::Whole, CallKind::Batch] {
        assert_eq!(mistake(kind, flush(5)), "flushInterval: is an option of streams, which this is not");
    }
    let there_are = |kind| mistake(kind, json!({"xyz": 1}));
    let same = "headers, cache, timeouts, provider, retry, priority, tenant";
    assert_eq!(
        [CallKind::Whole, CallKind::Stream, CallKind::Batch].map(there_are),
        [
            format!("xyz: is not an option; there are signal, {same}, idempotencyKey, wire"),
            format!(
                "xyz: is not an option; there are signal, {same}, idempotencyKey, recover, flushInterval"
            ),
            format!(
                "xyz: is not an option; there are concurrency, onProgress, failFast, signal, {same}, wire"
            ),
        ]
    );
    let slip = mistake(CallKind::Batch, json!({"concurency": 5}));
    assert_eq!(slip, "concurency: is not an option; did you mean concurrency?");
    let key = json!({"idempotencyKey": "é"});
    assert_eq!(mistake(CallKind::Whole, key), "idempotencyKey: must be visible ASCII, and not empty");
}

#[test]
fn an_error_never_repeats_a_key() {
    assert!(!mistake(json!({"apiKey": "sk-secret\u{7}"})).contains("secret"));
    assert!(!format!("{:?}", parse(json!({"apiKey": "sk-secret"})).unwrap()).contains("secret"));
}

#[test]
fn a_smaller_total_makes_the_limits_below_it_smaller() {
    let pool = parse(json!({"pool": {"maxConnections": 9}})).unwrap().pool;
    assert_eq!((pool.max_connections_per_origin.get(), pool.max_idle_connections), (9, 5));
}

#[test]
fn a_dns_ttl_may_be_zero() {
    let ttl = |ttl: Value| parse(json!({"pool": {"dnsTtl": ttl}})).unwrap().pool.dns_ttl.as_micros();
    assert_eq!([ttl(json!(0)), ttl(json!(0.5)), ttl(json!(60_000))], [0, 500, 60_000_000]);
}

#[test]
fn a_lane_has_what_the_other_leaves() {
    let lanes = |lanes| {
        let options = json!({"pool": {"maxConnections": 50, "lanes": lanes}});
        parse(options).unwrap().pool.lanes.map(|lanes| (lanes.streaming.get(), lanes.unary.get()))
    };
    assert_eq!(lanes(json!({"streaming": {"maxConnections": 20}})), Some((20, 30)));
    assert_eq!(lanes(json!({"unary": {"maxConnections": 1}})), Some((49, 1)));
    let both = json!({"streaming": {"maxConnections": 5}, "unary": {"maxConnections": 6}});
    assert_eq!(lanes(both), Some((5, 6)));
    assert_eq!(lanes(json!({"streaming": {}, "unary": {}})), None);
    assert_eq!(lanes(json!({})), None);
}

#[test]
fn a_nonzero_is_what_the_type_says() {
    assert_eq!(
        parse(json!({"pool": {"maxStreamsPerConnection": 4}})).unwrap().pool.max_streams_per_connection,
        const { NonZeroUsize::new(4).unwrap() }
    );
}

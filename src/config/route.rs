//! The options of the way to an origin: proxies and Unix sockets.

use std::path::PathBuf;

use super::Environment;
use super::section::Section;
use crate::error::Error;
use crate::pool::{NoProxy, Origin, Proxies, Proxy, Route};

/// `pool` is None where the options have no such section; `origins` are those that go this way.
pub(super) fn parse_route(
    pool: Option<&mut Section>,
    environment: &Environment,
    origins: &[&Origin],
) -> Result<Route, Error> {
    let Some(given) = pool else {
        return from_environment(environment, None, origins);
    };
    let off = given.take_false("proxy");
    let url = if off { None } else { given.string_or("proxy", "a string or false")? };
    let except = no_proxy(given)?;
    if let Some(path) = given.string("socketPath")? {
        if url.is_some() {
            return Err(given.error("socketPath", format!("must not be given with {}.proxy", given.path())));
        }
        return socket_path(&path).map_err(|error| given.error("socketPath", error));
    }
    match url {
        Some(url) => {
            let proxy = Proxy::parse(&url).map_err(|error| given.error("proxy", error))?;
            let except = except.unwrap_or_else(|| environment.no_proxy());
            Ok(Route::through(Proxies { https: Some(proxy.clone()), http: Some(proxy), except }))
        }
        None if off => Ok(Route::Direct),
        None => from_environment(environment, except, origins),
    }
}

/// A variable that is wrong is no matter of a client whose calls do not go by it: whoever set it had others in mind.
fn from_environment(
    environment: &Environment,
    except: Option<NoProxy>,
    origins: &[&Origin],
) -> Result<Route, Error> {
    let except = except.unwrap_or_else(|| environment.no_proxy());
    let proxy = |variable: &Option<(String, String)>, secure: bool| {
        let Some((name, value)) = variable.as_ref().filter(|(_, value)| !value.trim().is_empty()) else {
            return Ok(None);
        };
        // Without a scheme it is http, as everywhere.
        let url = if value.contains("://") { value.clone() } else { format!("http://{}", value.trim()) };
        match Proxy::parse(&url) {
            Ok(proxy) => Ok(Some(proxy)),
            Err(error)
                if origins.iter().any(|origin| origin.is_secure() == secure && !except.contains(origin)) =>
            {
                Err(Error::config(format!("{name}: {error}")))
            }
            Err(_) => Ok(None),
        }
    };
    let (https, http) = (proxy(&environment.https_proxy, true)?, proxy(&environment.http_proxy, false)?);
    Ok(Route::through(Proxies { https, http, except }))
}

fn no_proxy(given: &mut Section) -> Result<Option<NoProxy>, Error> {
    let Some(entries) = given.list("noProxy")? else {
        return Ok(None);
    };
    let names: Option<Vec<_>> = entries.iter().map(serde_json::Value::as_str).collect();
    let rules = names.and_then(|names| NoProxy::of(names).ok());
    let wanted = "must hold host names, IP addresses, networks or '*', each with or without a port";
    rules.map(Some).ok_or_else(|| given.error("noProxy", wanted))
}

#[cfg(unix)]
fn socket_path(path: &str) -> Result<Route, &'static str> {
    if path.is_empty() {
        return Err("must not be empty");
    }
    std::os::unix::net::SocketAddr::from_pathname(path)
        .map(|_| Route::UnixSocket(PathBuf::from(path)))
        .map_err(|_| "must be a path that a Unix socket can have: about 100 bytes at most, and no zeros")
}

#[cfg(not(unix))]
fn socket_path(_: &str) -> Result<Route, &'static str> {
    Err("there are no Unix sockets on this system")
}

impl Environment {
    fn no_proxy(&self) -> NoProxy {
        NoProxy::lenient(self.no_proxy.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClientConfig;
    use super::*;
    use serde_json::{Value, json};

    fn environment(https: &str, http: &str, no: &str) -> Environment {
        Environment {
            https_proxy: Some(("HTTPS_PROXY".into(), https.into())),
            http_proxy: Some(("http_proxy".into(), http.into())),
            no_proxy: Some(no.into()),
            ..Environment::default()
        }
    }

    fn route(pool: Value, environment: &Environment) -> Result<Route, String> {
        let config = ClientConfig::parse(json!({ "pool": pool }), environment);
        config.map(|config| config.pool.route).map_err(|error| error.message.clone())
    }

    fn mistake(pool: Value) -> String {
        route(pool, &Environment::default()).unwrap_err()
    }

    fn through(https: Option<&str>, http: Option<&str>, except: &str) -> Route {
        let proxy = |url: Option<&str>| url.map(|url| Proxy::parse(url).unwrap());
        Route::through(Proxies { https: proxy(https), http: proxy(http), except: NoProxy::lenient(except) })
    }

    #[test]
    fn the_environment_gives_a_proxy_for_each_scheme_of_origin() {
        let both = environment("http://u:p@a.example:3128", "b.example:80", "c.example");
        let expected = through(Some("http://u:p@a.example:3128"), Some("http://b.example"), "c.example");
        assert_eq!(route(json!({}), &both).unwrap(), expected);
        assert_eq!(ClientConfig::parse(json!({}), &both).unwrap().pool.route, expected);
        assert_eq!(route(json!({}), &environment("", " ", "*")).unwrap(), Route::Direct);
        assert_eq!(route(json!({}), &Environment::default()).unwrap(), Route::Direct);
    }

    #[test]
    fn an_option_wins_over_the_environment() {
        let both = environment("http://a.example", "http://a.example", "c.example");
        assert_eq!(route(json!({"proxy": false}), &both).unwrap(), Route::Direct);
        let own = Some("socks5://own.example");
        assert_eq!(
            route(json!({"proxy": "socks5://own.example"}), &both).unwrap(),
            through(own, own, "c.example")
        );
        let a = Some("http://a.example");
        assert_eq!(route(json!({"noProxy": ["d.example"]}), &both).unwrap(), through(a, a, "d.example"));
        assert_eq!(route(json!({"noProxy": []}), &both).unwrap(), through(a, a, ""));
    }

    #[test]
    fn a_mistake_of_the_environment_names_the_variable_and_not_its_value() {
        let bad = environment("ftp://u:secret@a.example", "", "");
        let error = route(json!({}), &bad).unwrap_err();
        assert_eq!(
            error,
            "HTTPS_PROXY: must be a URL with http, https, socks5 or socks5h, a host and no path"
        );
        assert_eq!(route(json!({"proxy": false}), &bad).unwrap(), Route::Direct);
    }

    #[test]
    fn a_variable_is_wrong_only_for_those_who_go_by_it() {
        let of = |base: &str, environment: &Environment| {
            let config = ClientConfig::parse(json!({ "baseURL": base }), environment);
            config.map(|config| config.pool.route).map_err(|error| error.message.clone())
        };
        let bad = environment("http://a.example", "ftp://b.example", "c.example");
        assert_eq!(
            of("https://x.example", &bad).unwrap(),
            through(Some("http://a.example"), None, "c.example")
        );
        assert!(of("http://x.example", &bad).unwrap_err().starts_with("http_proxy: must be a URL"));
        assert!(of("http://c.example", &bad).is_ok(), "it is connected to straight");
    }

    #[test]
    fn a_proxy_that_is_none_is_refused_without_repeating_it() {
        let wanted = "pool.proxy: must be a URL with http, https, socks5 or socks5h, a host and no path";
        for bad in ["", "ftp://u:secret@a.example", "a.example:3128", "http://a.example/proxy.pac"] {
            assert_eq!(mistake(json!({ "proxy": bad })), wanted, "{bad}");
        }
        let error = "pool.proxy: must be a string or false, got a boolean";
        assert_eq!(mistake(json!({ "proxy": true })), error);
        assert_eq!(mistake(json!({ "noProxy": "a" })), "pool.noProxy: must be an array, got a string");
        for bad in [json!([1]), json!(["http://a.example"]), json!([""])] {
            assert!(mistake(json!({ "noProxy": bad })).starts_with("pool.noProxy: must hold host names"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_a_path_and_goes_without_a_proxy() {
        let both = environment("http://a.example", "http://a.example", "");
        let socket = Route::UnixSocket("/run/x.sock".into());
        assert_eq!(route(json!({"socketPath": "/run/x.sock"}), &both).unwrap(), socket);
        assert_eq!(route(json!({"socketPath": "/run/x.sock", "proxy": false}), &both).unwrap(), socket);
        assert_eq!(
            mistake(json!({"socketPath": "/x", "proxy": "http://a.example"})),
            "pool.socketPath: must not be given with pool.proxy"
        );
        assert_eq!(mistake(json!({"socketPath": ""})), "pool.socketPath: must not be empty");
        for bad in ["a\0b".to_owned(), "x".repeat(200)] {
            assert!(mistake(json!({ "socketPath": bad })).starts_with("pool.socketPath: must be a path"));
        }
    }

    #[test]
    fn nothing_shows_the_credentials_of_a_proxy() {
        let config = ClientConfig::parse(
            json!({"pool": {"proxy": "socks5://user:secret@a.example"}}),
            &environment("http://user:secret@a.example", "", ""),
        );
        let shown = format!("{:?}", config.unwrap());
        assert!(shown.contains("socks5://a.example:1080") && !shown.contains("secret"), "{shown}");
        let shown = format!("{:?}", environment("http://user:secret@a.example", "", ""));
        assert!(!shown.contains("secret"), "{shown}");
    }
}

//! The option `shared`: what several processes have together, and where.

use redis::{ConnectionInfo, IntoConnectionInfo};
use zeroize::Zeroizing;

use super::secret::Hidden;
use super::section::Section;
use crate::error::Error;

/// Where the state is that processes share.
#[derive(Debug, Clone)]
pub struct SharedConfig {
    /// Its password is nobody's business.
    pub redis: Hidden<ConnectionInfo>,
    /// The first part of all keys.
    pub namespace: String,
    pub on_unavailable: OnUnavailable,
}

impl PartialEq for SharedConfig {
    fn eq(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|config| {
            let (info, Self { namespace, on_unavailable, .. }) = (&config.redis.0, config);
            let redis = info.redis_settings();
            (info.addr(), redis.db(), redis.username(), redis.password(), namespace, on_unavailable)
        });
        own == others
    }
}

impl SharedConfig {
    /// All of a namespace are on one node of a cluster, as those of one script have to be.
    pub fn key(&self, what: &str, name: &str) -> String {
        format!("{{{}}}:{what}:{name}", self.namespace)
    }
}

/// What is done while Redis cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnavailable {
    /// Each process goes by its own count.
    Local,
    /// Calls end with an error before anything is sent.
    Fail,
}

/// None where nothing is shared.
pub(super) fn parse_shared(top: &mut Section) -> Result<Option<SharedConfig>, Error> {
    let Some(mut given) = top.section("shared")? else {
        return Ok(None);
    };
    let redis = redis_of(&mut given, "redis")?;
    let namespace = given.string("namespace")?.unwrap_or_else(|| "trunkline".to_owned());
    if namespace.is_empty() || namespace.len() > 200 || namespace.contains(['{', '}']) {
        return Err(given.error("namespace", "must be 1 to 200 bytes without braces"));
    }
    let choices = [("local", OnUnavailable::Local), ("fail", OnUnavailable::Fail)];
    let on_unavailable = given.one_of("onUnavailable", &choices)?.unwrap_or(OnUnavailable::Local);
    given.finish()?;
    Ok(Some(SharedConfig { redis, namespace, on_unavailable }))
}

/// A Redis by its URL.
pub(super) fn redis_of(given: &mut Section, name: &'static str) -> Result<Hidden<ConnectionInfo>, Error> {
    const WANTED: &str = "must be a URL such as redis://host:6379/0, or rediss://user:password@host:6380";
    let Some(url) = given.string(name)?.map(Zeroizing::new) else {
        return Err(given.error(name, format!("{WANTED}, and is missing")));
    };
    // The URL itself is not repeated: it may hold a password.
    url.as_str().into_connection_info().map(Hidden).map_err(|_| given.error(name, WANTED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shared(given: Value) -> Result<Option<SharedConfig>, String> {
        let mut top = Section::top("options", json!({ "shared": given })).unwrap();
        let shared = parse_shared(&mut top).map_err(|error| error.message.clone())?;
        top.finish().map_err(|error| error.message.clone())?;
        Ok(shared)
    }

    #[test]
    fn a_url_is_enough_and_its_password_is_never_shown() {
        for url in ["redis://h", "rediss://u:SeCrEt@h:1/2", "valkey://h", "unix:///run/redis.sock"] {
            let shared = shared(json!({ "redis": url })).unwrap().unwrap();
            assert_eq!(
                (shared.namespace.as_str(), shared.on_unavailable),
                ("trunkline", OnUnavailable::Local)
            );
            assert!(!format!("{shared:?}").contains("SeCrEt"));
        }
    }

    #[test]
    fn mistakes_name_the_path_and_repeat_no_password() {
        let url = "must be a URL such as redis://host:6379/0, or rediss://user:password@host:6380";
        let table = [
            (json!("redis://h"), "shared: must be an object, got a string".to_owned()),
            (json!({}), format!("shared.redis: {url}, and is missing")),
            (json!({"redis": "http://u:SeCrEt@h"}), format!("shared.redis: {url}")),
            (json!({"redis": "redis://h/x"}), format!("shared.redis: {url}")),
            (
                json!({"redis": "redis://h", "namespace": "a{b}"}),
                "shared.namespace: must be 1 to 200 bytes without braces".to_owned(),
            ),
            (
                json!({"redis": "redis://h", "onUnavailable": "retry"}),
                "shared.onUnavailable: must be one of 'local', 'fail', got 'retry'".to_owned(),
            ),
        ];
        for (given, message) in table {
            assert_eq!(shared(given).unwrap_err(), message);
        }
    }
}

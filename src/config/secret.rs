//! What is secret among the options: its memory is zeroed when the last who has it lets go.
//!
//! A [`HeaderValue`] shares its bytes with its clones, so the requests that are sent with a key are no copies of it. Not ours to zero are the
//! buffers that a request is written into (hyper's, those of TLS, the kernel's) and JavaScript's own strings. No table of HPACK keeps a key,
//! since what is marked sensitive is never indexed.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::Environment;

/// What may hold a secret, whatever its name: `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden<T>(pub T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<T> Deref for Hidden<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Hidden<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// The value of a header, marked sensitive: not shown by `Debug`, not indexed by HPACK. None where these bytes cannot be one.
pub(super) fn secret_value(bytes: Zeroizing<Vec<u8>>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a header says who somebody is, as far as its name tells: the usual ones, and those of gateways (`cf-aig-authorization`, `x-auth-token`,
/// `ocp-apim-subscription-key`, `x-amz-security-token`).
pub fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_key = name.ends_with("key") && !name.ends_with("idempotency-key");
    is_key
        || ["authorization", "cookie", "secret", "password"].iter().any(|word| name.contains(word))
        || ["-auth", "-token", "-credential", "-credentials"].iter().any(|end| name.ends_with(end))
}

/// Zeroes all texts of a value.
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Its keys, and whatever else may hold a password.
impl Zeroize for Environment {
    fn zeroize(&mut self) {
        let Self {
            base_url,
            api_key,
            anthropic_base_url,
            anthropic_api_key,
            gemini_base_url,
            gemini_api_key,
            https_proxy,
            http_proxy,
            ..
        } = self;
        let urls = [base_url, anthropic_base_url, gemini_base_url, https_proxy, http_proxy];
        for (_, value) in urls.into_iter().chain([api_key, anthropic_api_key, gemini_api_key]).flatten() {
            value.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_secret_share_its_memory() {
        let bytes = Zeroizing::new(b"sk-shared".to_vec());
        let at = bytes.as_ptr();
        let value = secret_value(bytes).unwrap();
        let copy = value.clone();
        assert!(value.is_sensitive() && copy.is_sensitive());
        assert_eq!([value.as_bytes().as_ptr(), copy.as_bytes().as_ptr()], [at, at]);
        assert!(secret_value(b"a\r\nb".to_vec().into()).is_none());
    }

    #[test]
    fn credentials_are_told_by_their_names() {
        let is_credential = |name: &&str| super::is_credential(&name.parse().unwrap());
        let own =
            ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"];
        let of_gateways =
            ["cf-aig-authorization", "x-auth-token", "helicone-auth", "ocp-apim-subscription-key"];
        assert!(own.iter().chain(&of_gateways).all(is_credential));
        let others =
            ["idempotency-key", "x-idempotency-key", "anthropic-beta", "openai-organization", "x-max-tokens"];
        assert!(!others.iter().any(is_credential));
    }
}

//! One key of a provider: given, or asked for when it is first needed and again when it was refused. However many
//! calls wait, it is asked for once.

use std::fmt;

use http::HeaderValue;
use tokio::sync::watch;

use crate::error::Error;
use crate::protocol::dialect::Protocol;

pub(super) struct KeyStore {
    /// None: the key is fixed.
    ask: Option<Box<dyn Fn() + Send + Sync>>,
    current: watch::Sender<Current>,
}

#[derive(Clone, Default)]
struct Current {
    key: Option<HeaderValue>,
    /// Why there is none.
    error: Option<String>,
    version: u64,
    asking: bool,
}

/// The value of a key, so that a refusal can name it.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) header: Option<HeaderValue>,
    version: u64,
}

impl KeyStore {
    pub(super) fn fixed(key: Option<HeaderValue>) -> Self {
        Self { ask: None, current: watch::Sender::new(Current { key, version: 1, ..Current::default() }) }
    }

    pub(super) fn asked(ask: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { ask: Some(ask), current: watch::Sender::new(Current::default()) }
    }

    /// Whether a refused key can be asked for again.
    pub(super) fn can_renew(&self) -> bool {
        self.ask.is_some()
    }

    /// The key; one newer than `refused`, where that is given.
    pub(super) async fn get(&self, refused: Option<&Value>) -> Result<Value, Error> {
        if self.ask.is_none() {
            let current = self.current.borrow();
            return Ok(Value { header: current.key.clone(), version: current.version });
        }
        let mut changes = self.current.subscribe();
        self.ask_for_newer(refused);
        let refused = version_of(refused);
        let answered = changes.wait_for(|current| !current.asking && current.version > refused).await;
        let current = answered.map_err(|_| Error::closed())?;
        match (&current.key, &current.error) {
            (Some(key), _) => Ok(Value { header: Some(key.clone()), version: current.version }),
            (None, error) => {
                let error = error.clone();
                drop(current);
                Err(Error::config("apiKey: the function gave no key").caused_by(error))
            }
        }
    }

    /// Has a newer key than `refused` asked for, if none has come or is on its way. Nobody waits for it here.
    pub(super) fn ask_for_newer(&self, refused: Option<&Value>) {
        let Some(ask) = &self.ask else { return };
        let refused = version_of(refused);
        let begun = self.current.send_if_modified(|current| {
            // After a failure, the next call asks again.
            let begin = !current.asking && (current.version <= refused || current.error.is_some());
            current.asking |= begin;
            begin
        });
        if begun {
            ask();
        }
    }

    /// The answer to the question. `replaced` is called if it is another key, before those who wait have it.
    pub(super) fn answer(&self, key: Result<&str, &str>, protocol: Protocol, replaced: impl FnOnce()) {
        let made = match key {
            Ok(text) => protocol.key_value(text).map_err(str::to_owned),
            Err(error) => Err(error.to_owned()),
        };
        if made.as_ref().is_ok_and(|key| self.current.borrow().key.as_ref() != Some(key)) {
            replaced();
        }
        self.current.send_modify(|current| {
            current.asking = false;
            current.version += 1;
            (current.key, current.error) = match made {
                Ok(key) => (Some(key), None),
                Err(error) => (None, Some(error)),
            };
        });
    }
}

fn version_of(refused: Option<&Value>) -> u64 {
    refused.map_or(0, |used| used.version)
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore").field("asked", &self.ask.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn store() -> (Arc<KeyStore>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let ask = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        (Arc::new(KeyStore::asked(ask)), asked)
    }

    async fn many(
        store: &Arc<KeyStore>,
        refused: Option<Value>,
    ) -> tokio::task::JoinSet<Result<Value, Error>> {
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (store, refused) = (store.clone(), refused.clone());
            waiting.spawn(async move { store.get(refused.as_ref()).await });
        }
        tokio::task::yield_now().await;
        waiting
    }

    #[tokio::test]
    async fn a_key_is_asked_for_once_however_many_wait_and_again_when_it_was_refused() {
        let (store, asked) = store();
        let waiting = many(&store, None).await;
        store.answer(Ok("one"), Protocol::OpenAi, || {});
        let keys: Vec<_> = waiting.join_all().await.into_iter().map(Result::unwrap).collect();
        assert!(keys.iter().all(|key| key.header.as_ref().unwrap() == "Bearer one"));
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let waiting = many(&store, Some(keys[0].clone())).await;
        store.answer(Ok("two"), Protocol::OpenAi, || {});
        assert!(
            waiting
                .join_all()
                .await
                .iter()
                .all(|key| key.as_ref().unwrap().header.as_ref().unwrap() == "Bearer two")
        );
        assert_eq!(asked.load(Ordering::Relaxed), 2);

        assert!(store.get(Some(&keys[0])).await.is_ok(), "a newer key is there already");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_function_that_fails_fails_those_who_wait_and_is_asked_again_by_the_next() {
        let (store, asked) = store();
        let waiting = many(&store, None).await;
        store.answer(Err("vault is sealed"), Protocol::OpenAi, || {});
        for result in waiting.join_all().await {
            let error = result.err().unwrap();
            assert_eq!(error.message, "apiKey: the function gave no key");
            assert_eq!(error.cause.as_deref(), Some("vault is sealed"));
        }
        let waiting = many(&store, None).await;
        store.answer(Ok("one"), Protocol::OpenAi, || {});
        assert!(waiting.join_all().await.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}

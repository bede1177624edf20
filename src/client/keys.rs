//! The keys of a provider, used in turn.

use std::num::NonZeroUsize;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

use super::AskForKey;
use super::key::{KeyStore, Value};
use crate::config::Key;
use crate::error::Error;
use crate::policy::keys::{Excluded, KeyRing, Picked, Strike, Taken};
use crate::protocol::dialect::Protocol;

/// Those that a provider has now; `rotateKey` puts others in their place.
#[derive(Debug)]
pub(super) struct Keys {
    protocol: Protocol,
    stores: Vec<(KeyStore, Option<u32>)>,
    ring: KeyRing,
}

/// A key as an attempt uses it.
#[derive(Clone)]
pub(super) struct UsedKey {
    value: Value,
    taken: Taken,
}

impl UsedKey {
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        self.value.header.as_ref()
    }

    /// Which of them it is.
    pub(super) fn index(&self) -> usize {
        self.taken.key
    }
}

impl Keys {
    pub(super) fn new(keys: &[Key], protocol: Protocol, ask: &Arc<AskForKey>) -> Self {
        let store = |key: &Key| match key {
            Key::None => (KeyStore::fixed(None), None),
            Key::Fixed(key) => (KeyStore::fixed(Some(key.clone())), None),
            Key::Asked(function) => {
                let (function, ask) = (*function, ask.clone());
                (KeyStore::asked(Box::new(move || ask(function))), Some(function))
            }
        };
        let stores: Vec<_> = keys.iter().map(store).collect();
        let ring = KeyRing::new(NonZeroUsize::new(stores.len()).unwrap_or(NonZeroUsize::MIN));
        Self { protocol, stores, ring }
    }

    /// The key whose turn it is. Where all rest, the one that wakes first: whether to go on without one is not decided here.
    pub(super) async fn get(&self) -> Result<UsedKey, Error> {
        let now = Instant::now();
        let taken = match self.ring.pick(now, Excluded::default()) {
            Picked::Awake(taken) | Picked::Resting { first: taken, .. } => taken,
            // With nothing excluded there is one.
            Picked::None => return Err(Error::closed()),
        };
        self.value(taken, None).await
    }

    /// Another one that does not rest, than those that were tried.
    pub(super) async fn other(&self, not: Excluded) -> Option<Result<UsedKey, Error>> {
        match self.ring.pick(Instant::now(), not) {
            Picked::Awake(taken) => Some(self.value(taken, None).await),
            Picked::Resting { .. } | Picked::None => None,
        }
    }

    /// Whether a refused key can be asked for again.
    pub(super) fn can_renew(&self, used: &UsedKey) -> bool {
        self.stores.get(used.index()).is_some_and(|(store, _)| store.can_renew())
    }

    /// The same key, asked for again.
    pub(super) async fn renew(&self, used: &UsedKey) -> Result<UsedKey, Error> {
        self.value(self.ring.replaced(used.taken), Some(&used.value)).await
    }

    async fn value(&self, taken: Taken, refused: Option<&Value>) -> Result<UsedKey, Error> {
        // The ring has as many as there are.
        let (store, _) = self.stores.get(taken.key).ok_or_else(Error::closed)?;
        Ok(UsedKey { value: store.get(refused).await?, taken })
    }

    /// The provider would not have it.
    pub(super) fn strike(&self, used: &UsedKey, strike: Strike) {
        self.ring.strike(used.taken, strike, Instant::now());
    }

    pub(super) fn success(&self, used: &UsedKey) {
        self.ring.success(used.taken);
    }

    pub(super) fn are_many(&self) -> bool {
        self.stores.len() > 1
    }

    /// Whether none is awake.
    pub(super) fn all_rest(&self, now: Instant) -> bool {
        self.ring.rests_until(now).is_some()
    }

    /// The answer to a question for the key that this function gives; false where none is of it.
    pub(super) fn answer(&self, function: u32, key: Result<&str, &str>) -> bool {
        let store = self.stores.iter().find(|(_, own)| *own == Some(function));
        if let Some((store, _)) = store {
            store.answer(key, self.protocol);
        }
        store.is_some()
    }
}

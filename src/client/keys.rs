//! The keys of a provider, used in turn.

use std::num::NonZeroUsize;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

use super::AskForKey;
use super::key::{KeyStore, Value};
use crate::config::Key;
use crate::error::Error;
use crate::policy::judge::{self, Failure};
use crate::policy::keys::{Excluded, KeyRing, Picked, Strike, Taken};
use crate::protocol::dialect::Protocol;

/// Those that a provider has now; `rotateKey` puts others in their place.
#[derive(Debug)]
pub(super) struct Keys {
    protocol: Protocol,
    stores: Vec<(KeyStore, Option<u32>)>,
    ring: KeyRing,
    /// How many the provider had before these: what is known of the limits of one is nothing against another that has its place.
    before: usize,
}

/// Whether a call with this key, by its index, would not have to wait for what its answers said of its limits.
pub(super) type Free<'a> = &'a (dyn Fn(usize) -> bool + Sync);

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
    pub(super) fn new(keys: &[Key], protocol: Protocol, before: usize, ask: &Arc<AskForKey>) -> Self {
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
        Self { protocol, stores, ring, before }
    }

    /// How many the provider has had, these included.
    pub(super) fn count(&self) -> usize {
        self.before + self.stores.len()
    }

    /// The number of a key among all that the provider has had, by its index here.
    pub(super) fn number(&self, index: usize) -> usize {
        self.before + index
    }

    /// The key whose turn it is, of those that [are free](Free); else of all. Where all rest, the one that wakes first: whether to go on without
    /// one is not decided here.
    pub(super) async fn get(&self, is_free: Free<'_>) -> Result<UsedKey, Error> {
        let (mut without, mut why) = (Excluded::default(), None);
        loop {
            let taken = match self.pick(without, is_free) {
                Picked::Awake(taken) | Picked::Resting { first: taken, .. } => taken,
                // With nothing excluded there is one.
                Picked::None => return Err(why.unwrap_or_else(Error::closed)),
            };
            match self.value(taken).await {
                Ok(key) => return Ok(key),
                Err(error) => {
                    self.has_none(taken, &mut without);
                    why.get_or_insert(error);
                }
            }
        }
    }

    /// The first of them, whoever rests: what was made with a key is to be seen with that key alone.
    pub(super) async fn first(&self) -> Result<UsedKey, Error> {
        let taken = self.ring.current(0).ok_or_else(Error::closed)?;
        self.value(taken).await
    }

    /// Another one that does not rest, than those that were tried.
    pub(super) async fn other(&self, mut not: Excluded, is_free: Free<'_>) -> Option<UsedKey> {
        loop {
            let Picked::Awake(taken) = self.pick(not, is_free) else { return None };
            match self.value(taken).await {
                Ok(key) => return Some(key),
                Err(_) => self.has_none(taken, &mut not),
            }
        }
    }

    /// Where several are limited for as long as their answers said: the one that wakes first, for which the call then waits. `failure`, which tells of
    /// the last one's time, tells of that one's afterwards.
    pub(super) async fn first_to_wake(&self, failure: &mut Failure) -> Option<UsedKey> {
        let is_told = matches!(judge::strike(*failure), Some(Strike::Limited(Some(_))));
        let Failure::Status { retry_after, .. } = failure else { return None };
        if !is_told || !self.are_many() {
            return None;
        }
        let (taken, until) = self.ring.first_limited(Instant::now())?;
        let key = self.value(taken).await.ok()?;
        *retry_after = Some(until.saturating_duration_since(Instant::now()));
        Some(key)
    }

    /// Whether a refused key can be asked for again.
    pub(super) fn can_renew(&self, used: &UsedKey) -> bool {
        self.stores.get(used.index()).is_some_and(|(store, _)| store.can_renew())
    }

    /// The same key, asked for again.
    pub(super) async fn renew(&self, used: &UsedKey) -> Result<UsedKey, Error> {
        let value = self.store(used.index())?.get(Some(&used.value)).await?;
        Ok(UsedKey { value, taken: self.ring.current(used.index()).unwrap_or(used.taken) })
    }

    /// Where there are others to be used meanwhile, has the same key asked for again; what is new does not rest.
    pub(super) fn renew_meanwhile(&self, used: &UsedKey) {
        if self.are_many()
            && let Ok(store) = self.store(used.index())
        {
            store.ask_for_newer(Some(&used.value));
        }
    }

    fn pick(&self, not: Excluded, is_free: Free<'_>) -> Picked {
        let now = Instant::now();
        let first = self.ring.pick(now, not);
        let (mut picked, mut busy) = (first, not);
        while let Picked::Awake(taken) = picked {
            if !self.are_many() || is_free(taken.key) {
                return picked;
            }
            busy.add(taken.key);
            picked = self.ring.pick(now, busy);
        }
        first
    }

    async fn value(&self, taken: Taken) -> Result<UsedKey, Error> {
        let store = self.store(taken.key)?;
        let value = store.get(None).await?;
        // What was asked for meanwhile is another key than the one that was taken.
        let now = store.can_renew().then(|| self.ring.current(taken.key)).flatten();
        Ok(UsedKey { value, taken: now.unwrap_or(taken) })
    }

    fn store(&self, key: usize) -> Result<&KeyStore, Error> {
        // The ring has as many as there are.
        self.stores.get(key).map(|(store, _)| store).ok_or_else(Error::closed)
    }

    /// Its function gave none. Where there are others, it is not asked by each call anew.
    fn has_none(&self, taken: Taken, without: &mut Excluded) {
        without.add(taken.key);
        if self.are_many() {
            self.ring.strike(taken, Strike::Refused, Instant::now());
        }
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
        let index = self.stores.iter().position(|(_, own)| *own == Some(function));
        if let Some((index, (store, _))) = index.and_then(|index| Some((index, self.stores.get(index)?))) {
            store.answer(key, self.protocol, || {
                if let Some(now) = self.ring.current(index) {
                    let _ = self.ring.replaced(now);
                }
            });
        }
        index.is_some()
    }
}

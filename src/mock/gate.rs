//! What is turned away before it is answered: for its key, its rate, its length, or its last message.

use std::{collections::BTreeMap, fmt, time::Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::{
    limit::{Levels, Limit},
    options::{MockModel, MockOptions},
    refusal::Refusal,
    request::{Digest, Request},
    route::{Protocol, Route},
};

pub(super) struct Gate {
    limit: Option<Mutex<Limit>>,
    keys: Option<BTreeMap<String, Key>>,
    prefill: bool,
    models: BTreeMap<String, MockModel>,
}

struct Key {
    is_revoked: bool,
    /// In place of everybody's.
    limit: Option<Mutex<Limit>>,
}

/// What a request that was let in is held to.
pub(super) struct Pass<'g> {
    limit: Option<&'g Mutex<Limit>>,
}

impl Gate {
    pub(super) fn new(options: &MockOptions) -> Self {
        let now = Instant::now();
        let limit =
            |limit: &Option<_>| limit.as_ref().and_then(|limit| Limit::new(limit, now)).map(Mutex::new);
        let key = |(name, key): (&String, &super::options::MockKey)| {
            (name.clone(), Key { is_revoked: key.revoked, limit: limit(&key.rate_limit) })
        };
        Self {
            limit: limit(&options.rate_limit),
            keys: options.keys.as_ref().map(|keys| keys.iter().map(key).collect()),
            prefill: options.prefill,
            models: options.models.clone(),
        }
    }

    /// Lets a request in by its key. OpenAI's protocol needs one only where keys are told apart: so many that speak it
    /// need none.
    pub(super) fn enter(&self, request: &Request<'_>, route: &Route<'_>) -> Result<Pass<'_>, Refusal> {
        let everybody = Pass { limit: self.limit.as_ref() };
        if self.keys.is_none() && route.protocol == Protocol::OpenAi {
            return Ok(everybody);
        }
        let key = route.protocol.key(request).ok_or(Refusal::NoKey)?;
        let Some(keys) = &self.keys else { return Ok(everybody) };
        match keys.get(key.as_ref()) {
            Some(known) if !known.is_revoked => {
                Ok(known.limit.as_ref().map_or(everybody, |limit| Pass { limit: Some(limit) }))
            }
            _ => Err(Refusal::BadKey),
        }
    }

    /// Whether there is anything to look at in a chat.
    pub(super) fn minds_chats(&self) -> bool {
        !self.prefill || !self.models.is_empty()
    }

    /// Whether the model takes this chat, which is in OpenAI's shape.
    pub(super) fn judge(&self, chat: &Value) -> Result<(), Refusal> {
        let model = chat["model"].as_str().and_then(|model| self.models.get(model));
        let takes_prefill = model.and_then(|model| model.prefill).unwrap_or(self.prefill);
        let last = chat["messages"].as_array().and_then(|messages| messages.last());
        if !takes_prefill && last.is_some_and(|last| last["role"] == "assistant") {
            return Err(Refusal::Prefill);
        }
        let tokens = prompt(chat).tokens();
        match model.and_then(|model| model.max_input_tokens) {
            Some(most) if tokens > most => Err(Refusal::TooLong { tokens, most }),
            _ => Ok(()),
        }
    }
}

impl Pass<'_> {
    /// Takes the tokens of a prompt and its answer from what there is; `None` where there is no limit.
    pub(super) fn spend(
        &self,
        tokens: impl FnOnce() -> u64,
        protocol: Protocol,
    ) -> Result<Option<Levels>, Refusal> {
        let Some(limit) = self.limit else { return Ok(None) };
        let tokens = tokens();
        let outcome = limit.lock().admit(tokens, Instant::now());
        outcome.map(Some).map_err(|(levels, wait)| Refusal::Limited {
            wait,
            fields: protocol.limit_fields(&levels, Some(wait)),
        })
    }
}

/// The prompt of a chat in OpenAI's shape.
pub(super) fn prompt(chat: &Value) -> Digest {
    chat.get("messages")
        .and_then(|messages| serde::Deserialize::deserialize(messages).ok())
        .unwrap_or_default()
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("keys", &self.keys.as_ref().map(BTreeMap::len)).finish_non_exhaustive()
    }
}

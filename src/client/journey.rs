//! What a call asks for, and where it may go: known before anything is sent, and the same at every target.

use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::Client;
use super::call::{Call, Counted};
use super::endpoint::{Asking, Endpoint, Outgoing};
use super::memory::Flight;
use super::money::{Answer, Hold, Wish};
use super::provider::Provider;
use super::record::Record;
use super::targets::{Path, Target};
use super::witness::{Arrival, Witness};
use crate::config::CallOptions;
use crate::error::Error;
use crate::policy::learn::estimate_tokens;
use crate::policy::route::{Request, Wait};
use crate::pool::Tenant;
use crate::protocol::json::Members;
use crate::protocol::openai::Asked;

/// What is known of a request before it is sent.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    /// When it was handed over: calls that wait are ordered by it.
    pub(super) arrived: Instant,
    pub(super) witness: Option<Arc<Witness>>,
    pub(super) asked: Option<Asked>,
    /// Whether repeating it is safe even where it may have been processed.
    pub(super) repeatable: bool,
    /// Where it is the exchange that several calls wait for, and none of them itself.
    pub(super) flight: Option<Arc<Flight>>,
}

impl Accepted {
    /// It can be sent to somebody: it begins, and counts if it is a call.
    pub(super) fn begin(&self, client: &Client, record: &mut Record) -> Counted {
        match &self.flight {
            None => {
                let guard = client.counters.begin(self.arrived);
                record.sit(guard.seat());
                Counted::Call(guard)
            }
            Some(flight) => {
                record.show_to(&flight.shown);
                record.sit(flight.seat.clone());
                flight.begins();
                Counted::Exchange
            }
        }
    }

    /// The model that was asked for; empty where none was.
    pub(super) fn model(&self) -> &str {
        self.asked.as_ref().and_then(|asked| asked.model.as_deref()).unwrap_or_default()
    }

    /// Of the call, which begins.
    pub(super) fn record(&self) -> Record {
        Record::new(self.arrived, self.model(), self.witness.clone())
    }

    /// What a choice among targets is made by. As many tokens as [`estimate_tokens`] has them.
    pub(super) fn request(&self, body: usize, is_stream: bool) -> Request {
        let asked = self.asked.as_ref();
        let input_tokens = estimate_tokens(body, Some(0), 1);
        let most = asked.and_then(|asked| asked.max_tokens);
        let output_tokens = estimate_tokens(0, most, asked.map_or(1, |asked| asked.choices) as u64);
        let wait = if is_stream { Wait::FirstPiece } else { Wait::WholeAnswer };
        Request { input_tokens, output_tokens, wait }
    }
}

/// Reads what policy needs, and refuses what cannot be sent.
pub(super) fn accept(call: &Call, arrived: Arrival) -> Result<Accepted, Error> {
    let needs_model = matches!(call.endpoint, Endpoint::Chat | Endpoint::Embeddings);
    let asked = match call.endpoint {
        Endpoint::Get(_) => None,
        _ => match Members::of(&call.body) {
            Ok(members) => Some(Asked::of(&members)),
            Err(_) if !needs_model => None,
            Err(error) => {
                // Where, and not serde's own words: they repeat a string that stands in the place of an object.
                let (line, column) = (error.0.line(), error.0.column());
                let cause = format!("no JSON object, seen at line {line}, column {column}");
                return Err(Error::config("request: must be an object").caused_by(Some(cause)));
            }
        },
    };
    if needs_model {
        match asked.as_ref().and_then(|asked| asked.model.as_deref()) {
            None => return Err(Error::config("request.model: must be the name of a model, a string")),
            Some("") => return Err(Error::config("request.model: must not be empty")),
            Some(_) => {}
        }
    }
    let repeatable = call.options.idempotent || !matches!(call.endpoint, Endpoint::Post(_));
    Ok(Accepted { arrived: arrived.at, witness: arrived.witness, asked, repeatable, flight: None })
}

/// What is the same at every target: what is asked for, and where.
pub(super) struct Journey<'a> {
    pub(super) client: &'a Client,
    pub(super) accepted: &'a Accepted,
    pub(super) options: &'a CallOptions,
    endpoint: &'a Endpoint,
    pub(super) body: bytes::Bytes,
    pub(super) path: Path<'a>,
    pub(super) request: Request,
    deadline: Instant,
}

impl<'a> Journey<'a> {
    pub(super) fn plan(
        client: &'a Client,
        endpoint: &'a Endpoint,
        body: bytes::Bytes,
        accepted: &'a Accepted,
        options: &'a CallOptions,
        is_stream: bool,
    ) -> Result<Self, Error> {
        let request = accepted.request(body.len(), is_stream);
        let name = match endpoint {
            Endpoint::Chat | Endpoint::Embeddings => accepted.model(),
            // The model in any other body is its own matter.
            Endpoint::Post(_) | Endpoint::Get(_) => "",
        };
        let mut path = client.targets.path(name, options.provider.as_deref(), request, accepted.arrived)?;
        if options.has_credentials {
            path.keep_to_one_provider();
        }
        let deadline = accepted.arrived + options.total;
        Ok(Self { client, accepted, options, endpoint, body, path, request, deadline })
    }

    /// When it is to be over. Where several wait for it, when the last of them is out of time.
    pub(super) fn deadline(&self) -> Instant {
        self.accepted.flight.as_ref().map_or(self.deadline, |flight| flight.deadline())
    }

    /// What becomes of it in time; None where it is over.
    pub(super) async fn in_time<T>(&self, mut life: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        loop {
            let until = self.deadline();
            match timeout_at(until, life.as_mut()).await {
                Ok(ended) => return Some(ended),
                // Unless somebody waits for it who has more time.
                Err(_) if self.accepted.flight.as_ref().is_none_or(|flight| flight.is_over(until)) => {
                    return None;
                }
                Err(_) => {}
            }
        }
    }

    /// Whether it is a chat or for embeddings: what that costs is estimated where nobody reports it.
    pub(super) fn is_model_call(&self) -> bool {
        matches!(self.endpoint, Endpoint::Chat | Endpoint::Embeddings)
    }

    /// Speaks for what it may come to at a provider. None where nothing is held: there is no budget, or no model that could cost something.
    pub(super) async fn afford(&self, provider: &Provider, model: &Arc<str>) -> Result<Option<Hold>, Error> {
        match self.wish(model) {
            None => Ok(None),
            Some(wish) => self.client.money.afford(provider, &wish).await,
        }
    }

    fn wish<'b>(&'b self, model: &'b Arc<str>) -> Option<Wish<'b>> {
        let asked = self.accepted.asked.as_ref()?;
        let answer = Answer { max_tokens: asked.max_tokens, choices: asked.choices as u64 };
        let has_answer = *self.endpoint != Endpoint::Embeddings;
        let tenant = self.options.tenant.as_ref().map(Tenant::name);
        let wish =
            Wish { model, tenant, request: &self.body, answer: has_answer.then_some(answer), batch_of: None };
        (!model.is_empty()).then_some(wish)
    }

    /// The same along another path.
    pub(super) fn along(self, path: Path<'a>) -> Self {
        Self { path, ..self }
    }

    /// The request for the first target; none where only others may have words for it.
    pub(super) fn begin(&self, is_stream: bool) -> Result<Option<Box<Outgoing>>, Error> {
        let Some(first) = self.path.first() else { return Ok(None) };
        match self.outgoing(first, is_stream, None) {
            Ok(outgoing) => Ok(Some(outgoing)),
            Err(_) if self.path.has_others() => Ok(None),
            Err(mut error) => {
                let model = first.model_for(&self.accepted.model().into());
                error.provider = Some(first.provider.name().clone());
                error.model = Some(model).filter(|model| !model.is_empty());
                Err(error)
            }
        }
    }

    /// The request as a target takes it. `prefill`: what its answer is to begin with. Boxed: whoever passes it on across an await keeps a place for it in
    /// the call's future, and these places add up to a fifth of what a call in flight takes.
    pub(super) fn outgoing(
        &self,
        target: &Target,
        is_stream: bool,
        prefill: Option<&str>,
    ) -> Result<Box<Outgoing>, Error> {
        let asked = self.accepted.asked.as_ref();
        let asking = Asking {
            endpoint: self.endpoint,
            body: &self.body,
            asked: self.accepted.model(),
            asks_stream: asked.is_some_and(|asked| asked.stream),
            headers: &self.options.headers,
        };
        let outgoing =
            target.provider.endpoints.outgoing(asking, target.model.as_deref(), prefill, is_stream);
        outgoing.map(Box::new).map_err(|mut error| {
            error.provider.get_or_insert_with(|| target.provider.name().clone());
            error
        })
    }
}

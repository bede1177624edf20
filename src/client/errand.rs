//! Requests to a provider that are no calls: those of its batches, which are few, may be large, and are answered with files.
//!
//! They go with the first key of the provider, since what was made with one key is often to be seen with that alone, and past its limits of rate,
//! which are of calls.

mod load;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

pub use self::load::Load;

use super::Client;
use super::endpoint::{Asking, Endpoint, Outgoing};
use super::exchange::error_of;
use super::keys::UsedKey;
use super::money::{Answer, Hold, Wish};
use super::provider::Provider;
use super::targets::Target;
use crate::config::CallOptions;
use crate::error::{Api, Billed, Error, Kind, TimeoutPhase, millis};
use crate::policy::money::Usd;
use crate::policy::retry_after::{retry_after, should_retry};
use crate::pool::{self, Checkout};
use crate::protocol::dialect::{Protocol, Reply as Understood};
use crate::protocol::openai::{Usage, class_of};

/// A provider that answers batches.
#[derive(Debug, Clone)]
pub struct BatchTarget {
    provider: Arc<Provider>,
    /// What it calls the model; None for what the request says.
    model: Option<Arc<str>>,
    pub desk: BatchDesk,
}

/// What a provider takes batches by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchDesk {
    /// OpenAI's files and batches.
    Files,
    /// Anthropic's message batches.
    Messages,
}

/// A request of a batch, as the provider takes it.
#[derive(Debug)]
pub struct Said {
    pub body: Bytes,
    /// How its answer is to be understood.
    pub reply: Understood,
}

/// What a batch has spoken for of a budget. Given back on drop.
#[must_use]
#[derive(Debug)]
pub struct BatchHold(#[expect(dead_code, reason = "it is there to be dropped")] Option<Hold>);

/// A good answer.
pub struct Reply {
    body: pool::Body,
    idle: Duration,
    client: Arc<Client>,
}

/// For the head of an answer, beside the time that the request takes to go.
const PATIENCE: Duration = Duration::from_secs(300);
/// A slower network than this, in bytes a second, is not waited for.
const SLOWEST: u64 = 64 * 1024;
/// Of an answer that is taken whole.
const MOST: usize = 16 * 1024 * 1024;
/// Relays that speak OpenAI's protocol without its files and batches.
const WITHOUT: &[&str] = &["openrouter.ai"];

impl Client {
    /// Whom a batch of requests for this model is for: the first target of its route whose provider takes batches.
    ///
    /// # Errors
    /// Where none does, as far as that is known before it is asked.
    pub fn batch_target(&self, model: &str, provider: Option<&str>) -> Result<BatchTarget, Error> {
        if self.cassette.is_some() {
            return Err(Error::config("providerBatch: is in no cassette, which has calls alone"));
        }
        let targets = self.targets.listed(model, provider)?;
        if let Some(target) = targets.iter().find_map(BatchTarget::of) {
            return Ok(target);
        }
        let names: Vec<_> = targets.iter().map(|target| format!("'{}'", target.provider.name())).collect();
        Err(Error::config(format!(
            "providerBatch: the model '{model}' goes to {}, which {} no endpoint for batches that this package speaks (OpenAI's files and \
             batches, Anthropic's message batches); give it a route with a target that has one, or leave providerBatch out",
            names.join(", "),
            if names.len() == 1 { "has" } else { "have" },
        )))
    }

    /// The same provider as an earlier run has chosen for a model.
    pub fn batch_target_at(&self, model: &str, provider: &str) -> Result<BatchTarget, Error> {
        let of_route = self.targets.listed(model, None).unwrap_or_default();
        let known = of_route.iter().filter(|target| **target.provider.name() == *provider);
        let target = known.filter_map(BatchTarget::of).next();
        target.map_or_else(|| self.batch_target(model, Some(provider)), Ok)
    }
}

impl BatchTarget {
    fn of(target: &Target) -> Option<Self> {
        let host = target.provider.origin().authority();
        let desk = match target.provider.protocol() {
            Protocol::OpenAi if WITHOUT.iter().any(|without| host.ends_with(without)) => return None,
            Protocol::OpenAi => BatchDesk::Files,
            Protocol::Anthropic => BatchDesk::Messages,
            Protocol::Gemini => return None,
        };
        Some(Self { provider: target.provider.clone(), model: target.model.clone(), desk })
    }

    pub fn provider(&self) -> &Arc<str> {
        self.provider.name()
    }

    /// The most inputs of one request for embeddings; calls with more are split.
    pub fn most_inputs(&self) -> u64 {
        self.provider.protocol().most_inputs() as u64
    }

    /// One request, as it stands in a batch.
    ///
    /// # Errors
    /// Where it cannot be said in the provider's protocol.
    pub fn say(&self, endpoint: &Endpoint, asked: &str, body: &Bytes) -> Result<Said, Error> {
        let none = http::HeaderMap::new();
        let asking = Asking { endpoint, body, asked, asks_stream: false, headers: &none };
        let said = self.provider.endpoints.outgoing(asking, self.model.as_deref(), None, false)?;
        Ok(Said { body: said.body.0, reply: said.reply })
    }

    /// What an answer of a batch came to.
    pub fn charge(
        &self,
        client: &Client,
        asked: &str,
        answered: Option<&str>,
        usage: &Usage,
        options: &CallOptions,
    ) -> Usd {
        client.counters.tokens(usage.prompt_tokens, usage.completion_tokens);
        let model: Arc<str> = self.model.clone().unwrap_or_else(|| asked.into());
        let tenant = options.tenant.as_ref().map(|tenant| tenant.name().clone());
        let answered = answered.unwrap_or(&model);
        client.money.charge_batch(&self.provider.ledger, &model, answered, tenant.as_ref(), usage)
    }

    /// Speaks for what a batch may come to, by one of its requests.
    ///
    /// # Errors
    /// Where that is beyond a limit of the budget.
    pub async fn afford(
        &self,
        client: &Client,
        (asked, endpoint): (&str, &Endpoint),
        sample: &Bytes,
        requests: u64,
        options: &CallOptions,
    ) -> Result<BatchHold, Error> {
        #[derive(Default, serde::Deserialize)]
        struct Length {
            max_tokens: Option<u64>,
            max_completion_tokens: Option<u64>,
            n: Option<u64>,
        }
        let Length { max_tokens, max_completion_tokens, n } =
            serde_json::from_slice(sample).unwrap_or_default();
        let answer = Answer { max_tokens: max_completion_tokens.or(max_tokens), choices: n.unwrap_or(1) };
        let model: Arc<str> = self.model.clone().unwrap_or_else(|| asked.into());
        let wish = Wish {
            model: &model,
            tenant: options.tenant.as_ref().map(|tenant| tenant.name()),
            request: sample,
            answer: (*endpoint != Endpoint::Embeddings).then_some(answer),
            batch_of: Some(requests),
        };
        client.money.afford(&self.provider, &wish).await.map(BatchHold)
    }

    /// A request below the provider's version whose answer is JSON: by `POST` where it has a body, or `posts`.
    ///
    /// # Cancel safety
    /// Dropping the future gives the request up; what became of it is not known.
    pub async fn ask(
        &self,
        client: &Arc<Client>,
        options: &CallOptions,
        (path, posts): (&str, bool),
        load: &Load,
    ) -> Result<Value, Error> {
        let mut reply = self.open(client, options, (path, posts), load).await?;
        let mut whole = BytesMut::new();
        while let Some(piece) = reply.next().await? {
            if whole.len() + piece.len() > MOST {
                return Err(self.no_answer(format!("answered {path} with more than {MOST} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        serde_json::from_slice(&whole).map_err(|_| self.no_answer(format!("answered {path} with no JSON")))
    }

    /// The same, with an answer that is read piece by piece.
    pub async fn open(
        &self,
        client: &Arc<Client>,
        options: &CallOptions,
        (path, posts): (&str, bool),
        load: &Load,
    ) -> Result<Reply, Error> {
        let keys = self.provider.keys();
        let mut key = keys.first().await?;
        let mut has_renewed = false;
        loop {
            let (status, reply, headers) = self.exchange(client, options, (path, posts), load, &key).await?;
            if status.is_success() {
                return Ok(reply);
            }
            if status == StatusCode::UNAUTHORIZED && keys.can_renew(&key) && !has_renewed {
                has_renewed = true;
                key = keys.renew(&key).await?;
                continue;
            }
            return Err(self.refused(path, status, headers, reply).await);
        }
    }

    async fn exchange(
        &self,
        client: &Arc<Client>,
        options: &CallOptions,
        (path, posts): (&str, bool),
        load: &Load,
        key: &UsedKey,
    ) -> Result<(StatusCode, Reply, http::HeaderMap), Error> {
        let provider = &self.provider;
        let outgoing = self.outgoing(options, (path, posts), load)?;
        let timeouts = provider.timeouts(options);
        let how = Checkout { tenant: options.tenant.clone(), ..provider.checkout(options, &timeouts) };
        let failed = |error: &pool::Error| {
            let mut error = error_of(error, None).of_provider(provider.name());
            error.provider = Some(provider.name().clone());
            error.retryable = true;
            error
        };
        let lease = client.pool().checkout(provider.origin(), how).await.map_err(|error| failed(&error))?;
        let mut request = outgoing.request(lease.protocol(), key, None);
        let bytes = load.put_into(&mut request)?;
        client.counters.sent(usize::try_from(bytes).unwrap_or(usize::MAX));
        let limit = PATIENCE + Duration::from_secs(bytes / SLOWEST);
        let response = timeout(limit, lease.send(request)).await.map_err(|_| self.silent(limit))?;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        let reply = Reply { body, idle: PATIENCE, client: client.clone() };
        Ok((head.status, reply, head.headers))
    }

    fn outgoing(
        &self,
        options: &CallOptions,
        (path, posts): (&str, bool),
        load: &Load,
    ) -> Result<Outgoing, Error> {
        let path = format!("{}{path}", self.provider.endpoints.version());
        let body = if let Load::Json(text) = load { Bytes::from(text.clone()) } else { Bytes::new() };
        let endpoint = if posts { Endpoint::Post(path) } else { Endpoint::Get(path) };
        let asking = Asking {
            endpoint: &endpoint,
            body: &body,
            asked: "",
            asks_stream: false,
            headers: &options.headers,
        };
        self.provider.endpoints.outgoing(asking, None, None, false)
    }

    async fn refused(
        &self,
        path: &str,
        status: StatusCode,
        headers: http::HeaderMap,
        mut reply: Reply,
    ) -> Error {
        let mut body = Vec::new();
        while let Ok(Some(piece)) = reply.next().await {
            body.extend_from_slice(&piece);
            if body.len() > MOST {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        let status = status.as_u16();
        let fields = self.provider.protocol().error_fields(&serde_json::from_str(&body).unwrap_or_default());
        let class = class_of(status, &fields);
        let wait = retry_after(&headers, std::time::SystemTime::now());
        let may_pass = matches!(status, 408 | 409 | 429) || status >= 500;
        let retryable = should_retry(&headers).unwrap_or(may_pass);
        let kind = Kind::Api(Box::new(Api {
            class,
            status,
            headers,
            fields,
            body,
            retry_after_ms: wait.map(millis),
        }));
        // The path has ids, which are no secret, and nothing else.
        let mut error = Error::new(kind, format!("answered {status} to {path}"))
            .of_provider(&self.provider.origin().authority());
        error.provider = Some(self.provider.name().clone());
        error.retryable = retryable;
        error
    }

    fn silent(&self, limit: Duration) -> Error {
        let limit_ms = millis(limit);
        let kind = Kind::Timeout { phase: TimeoutPhase::FirstByte, limit_ms };
        let mut error =
            Error::new(kind, format!("no answer within {limit_ms} ms")).of_provider(self.provider.name());
        (error.retryable, error.billed) = (true, Billed::Maybe);
        error
    }

    fn no_answer(&self, message: String) -> Error {
        let mut error = Error::new(Kind::InvalidResponse, message).of_provider(self.provider.name());
        error.retryable = true;
        error
    }
}

impl Reply {
    /// The next piece; None at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            // Most often it is there already, and needs no clock.
            let frame = match self.body.frame().now_or_never() {
                Some(frame) => frame,
                None => timeout(self.idle, self.body.frame()).await.map_err(|_| {
                    let limit_ms = millis(self.idle);
                    let kind = Kind::Timeout { phase: TimeoutPhase::Idle, limit_ms };
                    let mut error =
                        Error::new(kind, format!("no further piece of the answer within {limit_ms} ms"));
                    error.retryable = true;
                    error
                })?,
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| {
                let mut error = error_of(&error, None);
                error.retryable = true;
                error
            })?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.client.counters.received(data.len());
                return Ok(Some(data));
            }
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

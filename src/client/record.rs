//! What is known of a call: its attempts, its times, the connection it ended on. Becomes the `meta` that JavaScript sees.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::money::{Bill, Charge, Hold};
use super::provider::Provider;
use super::witness::{Told, Witness};
use crate::error::{Attempt, Billed, Error, as_micros, header_text};
use crate::policy::money::Usd;
use crate::pool::{Lease, Phases, Protocol};
use crate::protocol::openai::Usage;

/// Attempts that others hand over, and what they came to.
type Lost = Arc<Mutex<(Vec<Attempt>, Charge)>>;

/// What others are shown of an exchange that they wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown(Arc<Mutex<Option<Box<Record>>>>);

/// How a call came by its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    Provider,
    /// It was kept since an earlier call.
    Memory,
    /// By the exchange of another call, which was under way.
    Another,
}

/// What is a record's own, and no copy's: it is given back once.
#[derive(Debug)]
pub(super) struct Own<T>(pub(super) Option<T>);

impl<T> Clone for Own<T> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

/// The record of one call.
#[derive(Debug, Clone)]
pub(super) struct Record {
    started: Instant,
    /// When the attempt under way began, if one is.
    attempt: Option<Instant>,
    /// When the attempt under way ended, if it has.
    ends: Option<Instant>,
    /// When the one that went well ended.
    ended: Option<Instant>,
    /// What its request asks for, once that went out.
    sent: Option<(Method, Uri)>,
    /// Who is asked, or was last.
    provider: Arc<str>,
    /// What the caller asks for.
    wanted: Arc<str>,
    /// What the target calls the model that is asked, by what name its limits are known, and the one that answered.
    asked: Arc<str>,
    limits: Arc<str>,
    pub(super) model: Arc<str>,
    /// What the attempt took of both kinds, once it is known.
    pub(super) tokens: Option<u64>,
    pub(super) attempts: Vec<Attempt>,
    /// Attempts that raced the one under way, and lost.
    lost: Option<Lost>,
    /// Attempts that were made because one before had failed.
    pub(super) retries: u32,
    queued: Duration,
    phases: Phases,
    pub(super) first_byte: Option<Duration>,
    connection: Option<(u64, Protocol, bool)>,
    /// Whether the answer of the attempt under way, or of the last one, came from a cassette.
    pub(super) is_replayed: bool,
    status: u16,
    headers: HeaderMap,
    pub(super) usage: Option<Box<RawValue>>,
    /// How the answer was served, where it says so.
    pub(super) tier: Option<Box<str>>,
    /// Of the attempt under way, once its request went out. Before the hold: what was spent is known when that is given back.
    bill: Own<Bill>,
    /// What the call has spoken for at this target.
    pub(super) hold: Own<Hold>,
    /// What all attempts that have ended came to.
    spent: Charge,
    /// What of the request the target has no words for.
    dropped: Vec<Cow<'static, str>>,
    /// Who is told, and of which attempt.
    witness: Option<Arc<Witness>>,
    number: u32,
    source: Source,
    /// Where several calls wait for it.
    shown: Option<Shown>,
}

/// The record of an answer that several machines keep together.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FarRecord {
    provider: String,
    model: String,
    wanted: String,
    status: u16,
    headers: Vec<(String, String)>,
    usage: Option<Box<RawValue>>,
    dropped: Vec<String>,
    spent: (String, bool, bool, bool),
}

/// The `meta` on its way: a list without names, which would cost more to write than what they name. `lib/meta.js` gives them.
#[derive(Serialize)]
struct Meta<'a>(
    /// The provider, the model that answered, the status.
    &'a str,
    &'a str,
    u16,
    /// Names and values of headers in turn.
    Vec<Cow<'a, str>>,
    Attempts<'a>,
    /// Number, protocol, whether it was there already.
    Option<(u64, &'static str, bool)>,
    /// Queued, DNS, connect, TLS, first byte, total.
    [Micros; 6],
    Option<&'a RawValue>,
    /// Paths in the request that its target has no words for.
    &'a [Cow<'static, str>],
    /// Where the answer came from: 0 the provider, 1 memory, 2 the exchange of another call.
    u8,
    /// What it cost in dollars, and whether some of that, or of the usage, is an estimate.
    Option<Usd>,
    bool,
);

#[derive(Serialize)]
#[serde(untagged)]
enum Attempts<'a> {
    /// One that went well: what it took. All else the meta says.
    Good(Micros),
    All(&'a [Attempt]),
}

#[derive(Serialize)]
struct Micros(#[serde(serialize_with = "as_micros")] Duration);

/// Under which name the limits of a model are known: each of several keys has its own.
pub(super) fn limits_of(model: &Arc<str>, key: usize) -> Arc<str> {
    match key {
        0 => model.clone(),
        n => format!("{model} (key {})", n + 1).into(),
    }
}

impl Shown {
    /// How it stood when it was last shown.
    pub(super) fn last(&self) -> Option<Record> {
        self.0.lock().as_deref().cloned()
    }
}

impl Record {
    pub(super) fn new(started: Instant, model: &str, witness: Option<Arc<Witness>>) -> Self {
        Self { attempts: Vec::with_capacity(1), witness, ..Self::of(started, model.into()) }
    }

    fn of(started: Instant, asked: Arc<str>) -> Self {
        Self {
            provider: asked.clone(),
            wanted: asked.clone(),
            limits: asked.clone(),
            dropped: Vec::new(),
            started,
            attempt: None,
            ends: None,
            ended: None,
            sent: None,
            model: asked.clone(),
            asked,
            tokens: None,
            attempts: Vec::new(),
            lost: None,
            retries: 0,
            queued: Duration::ZERO,
            phases: Phases::default(),
            first_byte: None,
            connection: None,
            is_replayed: false,
            status: 0,
            headers: HeaderMap::new(),
            usage: None,
            witness: None,
            number: 0,
            source: Source::default(),
            shown: None,
            tier: None,
            bill: Own(None),
            hold: Own(None),
            spent: Charge::default(),
        }
    }

    /// It is the record of an exchange that several calls wait for.
    pub(super) fn show_to(&mut self, shown: &Shown) {
        self.shown = Some(shown.clone());
        self.show();
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// What the caller asks for.
    pub(super) fn wanted(&self) -> &Arc<str> {
        &self.wanted
    }

    /// Who is asked, or was last.
    pub(super) fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// What the target is asked for.
    pub(super) fn model_asked(&self) -> &Arc<str> {
        &self.asked
    }

    /// Under which name the limits of that are known.
    pub(super) fn limited_as(&self) -> &Arc<str> {
        &self.limits
    }

    /// Attempts are at this target from now on.
    pub(super) fn aim(&mut self, provider: &Arc<str>, model: Arc<str>, dropped: &[Cow<'static, str>]) {
        self.provider = provider.clone();
        self.limits = model.clone();
        self.model = model.clone();
        self.asked = model;
        self.usage = None;
        self.tier = None;
        // Of the one before, nothing is said of this one.
        self.status = 0;
        self.headers.clear();
        self.dropped = dropped.to_vec();
        self.show();
    }

    /// It waited for its turn.
    pub(super) fn waited(&mut self, time: Duration) {
        self.queued += time;
    }

    /// When the attempt under way began.
    pub(super) fn attempt_began(&self) -> Instant {
        self.attempt.unwrap_or(self.started)
    }

    /// The attempt under way ends now: the clock is read once for all who want to know.
    pub(super) fn attempt_ends(&mut self) -> Instant {
        *self.ends.get_or_insert_with(Instant::now)
    }

    /// `key`: the number of the one that it has, among all that its provider has had.
    pub(super) fn begin_attempt(&mut self, key: usize) {
        self.limits = limits_of(&self.asked, key);
        self.first_byte = None;
        self.attempt = Some(Instant::now());
        self.ends = None;
        self.sent = None;
        self.tokens = None;
        self.is_replayed = false;
        self.status = 0;
        self.headers.clear();
        self.show();
    }

    /// Whoever is told of the call is told of this attempt from now on.
    pub(super) fn tell_of_attempt(&mut self, provider: &Provider) {
        if let Some(witness) = &self.witness {
            self.number = witness.next();
            let (model, origin) = (&*self.asked, provider.origin().to_string());
            let protocol = Some(provider.protocol().as_str());
            self.tell(|| Told::Attempt { provider: provider.name(), model, protocol, origin });
        }
    }

    /// Tells of the attempt under way, if anybody wants to know.
    pub(super) fn tell<'a>(&self, told: impl FnOnce() -> Told<'a>) {
        if let Some(witness) = &self.witness {
            witness.tell(self.number, self.started, told());
        }
    }

    /// Whoever is to be asked before the attempt under way, and which one it is.
    pub(super) fn asked_before(&self) -> Option<(&Witness, u32)> {
        self.witness.as_deref().filter(|witness| witness.asks()).map(|witness| (witness, self.number))
    }

    /// Whether anybody wants to know of the call.
    pub(super) fn is_witnessed(&self) -> bool {
        self.witness.is_some()
    }

    /// The request goes out: from now on it may be billed.
    pub(super) fn sent(&mut self, asks: (Method, Uri), bill: Bill) {
        self.sent = Some(asks);
        self.bill.0 = Some(bill);
        self.show();
    }

    /// So many bytes of the answer's text have come.
    pub(super) fn heard(&mut self, bytes: usize) {
        if let Some(bill) = &mut self.bill.0 {
            bill.heard(bytes);
        }
    }

    /// What the provider has reported by now.
    pub(super) fn reported(&mut self, usage: Usage) {
        if let Some(bill) = &mut self.bill.0 {
            bill.reported(usage);
        }
    }

    /// Method and path of the last request; without its query, which may hold a key.
    pub(super) fn asked(&self) -> Option<(&Method, &str)> {
        self.sent.as_ref().map(|(method, uri)| (method, uri.path()))
    }

    /// For how long the attempt under way has been without an answer.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.sent.as_ref()?;
        self.attempt.filter(|_| self.status == 0).map(|began| began.elapsed())
    }

    /// Whether the attempt under way may be billed.
    pub(super) fn is_sent(&self) -> bool {
        self.attempt.is_some() && self.sent.is_some()
    }

    pub(super) fn leased(&mut self, lease: &Lease) {
        let waited = lease.waited();
        let phases = lease.phases().unwrap_or_default();
        // The wait for a connection of one's own is told by its phases.
        self.queued += waited.saturating_sub(phases.total());
        self.phases = phases;
        self.connection = Some((lease.connection_id(), lease.protocol(), lease.is_reused()));
        self.tell(|| Told::sent(lease));
    }

    /// It has no connection: its answer comes from a cassette.
    pub(super) fn replayed(&mut self) {
        self.is_replayed = true;
        self.phases = Phases::default();
        self.connection = None;
    }

    pub(super) fn answered(&mut self, status: u16, headers: HeaderMap, after: Duration) {
        self.status = status;
        self.headers = headers;
        self.first_byte = Some(after);
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        ["x-request-id", "request-id"]
            .iter()
            .find_map(|name| self.headers.get(*name))
            .and_then(|value| value.to_str().ok())
    }

    /// Ends the attempt under way, if one is.
    pub(super) fn end_attempt(&mut self, error: Option<&Error>) {
        let Some(begun) = self.attempt.take() else { return };
        let now = self.ends.take().unwrap_or_else(Instant::now);
        self.take_lost();
        self.ended = error.is_none().then_some(now);
        let billed = error.map_or(Billed::Yes, |error| error.billed);
        self.settle_bill(billed);
        self.push_attempt(now - begun, error.map(|error| error.name_and_code().1), billed);
        self.show();
    }

    /// Lets those who wait see how it stands.
    pub(super) fn show(&self) {
        if let Some(Shown(shown)) = &self.shown {
            *shown.lock() = Some(Box::new(Self { lost: None, shown: None, ..self.clone() }));
        }
    }

    fn settle_bill(&mut self, billed: Billed) {
        let Some(bill) = self.bill.0.take() else { return };
        match billed {
            Billed::Yes => {
                let (charge, estimate) = bill.pay(&self.model, self.tier.as_deref());
                self.spent.add(charge);
                if let Some(usage) = estimate {
                    self.usage = usage.to_raw();
                }
            }
            Billed::No => bill.void(),
            // No provider is known to charge for an answer that is an error.
            Billed::Maybe if self.status >= 400 => bill.void(),
            Billed::Maybe => self.spent.add(bill.give_up()),
        }
    }

    fn push_attempt(&mut self, duration: Duration, error: Option<&'static str>, billed: Billed) {
        let status = (self.status > 0).then_some(self.status);
        self.tell(|| Told::AttemptEnd { status, error, billed });
        self.attempts.push(Attempt {
            provider: self.provider.clone(),
            model: self.model.clone(),
            status,
            error,
            duration,
            billed,
        });
    }

    /// The attempt under way may get rivals: what becomes of those is told to this record.
    pub(super) fn begin_race(&mut self) {
        self.lost = Some(Lost::default());
    }

    /// The record of another attempt of the same call, which begins then.
    pub(super) fn fork(&self, began: Instant) -> Self {
        Self {
            attempt: Some(began),
            queued: self.queued,
            retries: self.retries,
            provider: self.provider.clone(),
            wanted: self.wanted.clone(),
            limits: self.limits.clone(),
            model: self.asked.clone(),
            dropped: self.dropped.clone(),
            lost: self.lost.clone(),
            witness: self.witness.clone(),
            ..Self::of(self.started, self.asked.clone())
        }
    }

    /// Goes on as the record of the rival that has decided the race.
    pub(super) fn adopt(&mut self, rival: Option<Self>) {
        if let Some(rival) = rival {
            self.take_lost();
            let attempts = std::mem::take(&mut self.attempts);
            let (hold, shown, mut spent) = (self.hold.0.take(), self.shown.take(), self.spent);
            spent.add(rival.spent);
            *self = Self { attempts, hold: Own(hold), shown, spent, ..rival };
        }
    }

    /// Ends the attempt under way: nobody waits for its answer, since another was first.
    pub(super) fn give_up(&mut self) {
        self.abandon("ERR_HEDGED");
    }

    /// Hands over what is known of a rival that did not decide the race.
    pub(super) fn lose(mut self) {
        if let Some(lost) = self.lost.take() {
            let mut lost = lost.lock();
            lost.0.append(&mut self.attempts);
            lost.1.add(self.spent);
        }
    }

    fn take_lost(&mut self) {
        if let Some(lost) = &self.lost {
            let mut lost = lost.lock();
            self.attempts.append(&mut lost.0);
            self.spent.add(std::mem::take(&mut lost.1));
        }
    }

    /// What the call has taken.
    pub(super) fn total(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.started
    }

    /// Ends an attempt that nobody waits for any more.
    fn abandon(&mut self, why: &'static str) {
        let billed = if self.sent.is_some() { Billed::Maybe } else { Billed::No };
        let Some(begun) = self.attempt.take() else { return };
        if let Some(bill) = self.bill.0.take() {
            self.spent.add(bill.give_up());
        }
        self.push_attempt(begun.elapsed(), Some(why), billed);
    }

    /// Takes in the record of a part of this call.
    pub(super) fn absorb(&mut self, mut part: Self) {
        part.abandon("ERR_ABORTED");
        let mut attempts = std::mem::take(&mut self.attempts);
        attempts.append(&mut part.attempts);
        let queued = self.queued.max(part.queued);
        let retries = self.retries + part.retries;
        let shown = self.shown.take();
        let mut spent = self.spent;
        spent.add(part.spent);
        *self = Self {
            started: self.started,
            ended: None,
            attempts,
            retries,
            queued,
            spent,
            shown,
            hold: Own(None),
            ..part
        };
        self.show();
    }

    /// The record of one of those who waited for this exchange.
    pub(super) fn shared(&self, started: Instant, source: Source) -> Self {
        // The attempts are told to all of them, and the retries counted once.
        let retries = if source == Source::Another { 0 } else { self.retries };
        // As is what it cost.
        let spent = if source == Source::Another { Charge::nothing() } else { self.spent };
        Self { started, ended: None, retries, source, spent, witness: None, ..self.clone() }
    }

    /// What is still true when the answer is given to another call: who gave it, what it said of itself, what it took then. In bytes of its own, as
    /// headers are a part of a buffer.
    pub(super) fn kept(&self) -> Self {
        let own = |(name, value): (&HeaderName, &HeaderValue)| {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        };
        let of_one_caller = |(name, _): &(&HeaderName, &HeaderValue)| **name != http::header::SET_COOKIE;
        Self {
            provider: self.provider.clone(),
            model: self.model.clone(),
            status: self.status,
            headers: self.headers.iter().filter(of_one_caller).filter_map(own).collect(),
            usage: self.usage.clone(),
            dropped: self.dropped.clone(),
            spent: self.spent,
            ..Self::of(self.started, self.wanted.clone())
        }
    }

    /// What of it machines keep together.
    pub(super) fn far(&self) -> FarRecord {
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), header_text(value).into_owned())
        };
        FarRecord {
            provider: self.provider.to_string(),
            model: self.model.to_string(),
            wanted: self.wanted.to_string(),
            status: self.status,
            headers: self.headers.iter().map(text).collect(),
            usage: self.usage.clone(),
            dropped: self.dropped.iter().map(|path| path.clone().into_owned()).collect(),
            spent: self.spent.far(),
        }
    }

    /// None where it cannot be one.
    pub(super) fn of_far(far: FarRecord) -> Option<Self> {
        let header = |(name, value): (String, String)| {
            let bytes = value.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>().ok()?;
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(&bytes).ok()?))
        };
        Some(Self {
            provider: far.provider.into(),
            model: far.model.into(),
            status: far.status,
            headers: far.headers.into_iter().map(header).collect::<Option<_>>()?,
            usage: far.usage,
            dropped: far.dropped.into_iter().map(Cow::Owned).collect(),
            spent: Charge::of_far(far.spent),
            ..Self::of(Instant::now(), far.wanted.into())
        })
    }

    /// What it takes of memory, but for its own fields.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        let dropped = self.dropped.iter().map(|path| path.len() + size_of::<Cow<'_, str>>());
        let usage = self.usage.as_ref().map_or(0, |usage| usage.get().len());
        headers.chain(dropped).sum::<usize>() + usage + self.model.len() + self.wanted.len()
    }

    /// The record of a call whose answer was kept for this long.
    pub(super) fn recalled(&self, started: Instant, age: Duration) -> Self {
        let mut record = Self { started, source: Source::Memory, spent: Charge::nothing(), ..self.clone() };
        record.headers.insert(http::header::AGE, age.as_secs().into());
        record
    }

    /// What the call has cost; None where a part of it has no price.
    pub(super) fn cost(&self) -> Option<Usd> {
        self.spent.cost()
    }

    /// Completes an error by what is known of the call.
    pub(super) fn complete(&self, mut error: Error) -> Error {
        error.provider = Some(self.provider.clone());
        error.model = (!self.model.is_empty()).then(|| self.model.clone());
        error.request_id = self.request_id().map(str::to_owned);
        error.attempts.clone_from(&self.attempts);
        if self.is_witnessed() {
            error.meta = String::from_utf8(self.to_json()).ok();
        }
        // Another attempt may have been billed though the last one was not; one that went well was.
        let any = |billed| self.attempts.iter().any(|attempt| attempt.billed == billed);
        if any(Billed::Yes) {
            error.billed = Billed::Yes;
        } else if any(Billed::Maybe) {
            error.billed = Billed::Maybe;
        }
        error
    }

    /// The text of the `meta`. What it costs is paid here, off JavaScript's thread.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let headers = self.headers.iter();
        let headers = headers.flat_map(|(name, value)| [Cow::Borrowed(name.as_str()), header_text(value)]);
        let Phases { dns, connect, tls, .. } = self.phases;
        let first_byte = self.first_byte.unwrap_or_default();
        let times = [self.queued, dns, connect, tls, first_byte, self.total()];
        let meta = Meta(
            &self.provider,
            &self.model,
            self.status,
            headers.collect(),
            match &self.attempts[..] {
                [only] if only.error.is_none() => Attempts::Good(Micros(only.duration)),
                all => Attempts::All(all),
            },
            self.connection.map(|(id, protocol, reused)| (id, protocol.as_str(), reused)),
            times.map(Micros),
            self.usage.as_deref(),
            &self.dropped,
            self.source as u8,
            self.spent.cost(),
            self.spent.is_estimated,
        );
        // Roomy enough for most, so that it grows but rarely.
        let mut text = Vec::with_capacity(1024);
        // A type of strings, numbers and checked raw values always has a text.
        let _ = serde_json::to_writer(&mut text, &meta);
        text
    }
}

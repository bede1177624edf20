//! A client's handle.

use std::sync::{Arc, OnceLock, Weak};

use napi::bindgen_prelude::Reference;
use napi::{Error, Result, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::border::{Border, Flow, NativeBorder, nothing};
use super::mailbox::Letter;
use super::recent::Recent;
use super::runtime;
use crate::client::{Call, Client, Endpoint, Outlet};
use crate::config::{CallKind, CallOptions, Environment};
use crate::error;
use crate::policy::money::{Period, Window};
use crate::pool::{Inbox, Listener};
use crate::telemetry::{Events, Log};

/// A client, as JavaScript holds it. When it is collected, idle sockets that no other client shares close.
#[napi(js_name = "Client")]
#[derive(Debug)]
pub struct NativeClient {
    number: u32,
    pub(super) client: Arc<Client>,
    pub(super) border: Arc<Border>,
    /// While JavaScript listens to connections.
    listener: Mutex<Option<Listener>>,
    /// From when it first logs.
    log: OnceLock<Arc<Log>>,
    recent: Mutex<Recent>,
}

/// What is called, as `lib/client.js` has it.
fn endpoint_of(kind: u32, path: Option<String>) -> Endpoint {
    match kind & 0xff {
        0 => Endpoint::Chat,
        1 => Endpoint::Embeddings,
        2 => Endpoint::Post(path.unwrap_or_default()),
        _ => Endpoint::Get(path.unwrap_or_default()),
    }
}

/// What JavaScript passed, or our own error for its caller.
type Parsed<T> = std::result::Result<T, error::Error>;

/// Starts a call that could be prepared; the description of the error as JSON where it could not.
fn begin(prepared: Parsed<Call>, start: impl FnOnce(Call) -> Result<()>) -> Result<Option<String>> {
    match prepared {
        Ok(call) => start(call).map(|()| None),
        Err(error) => Ok(Some(error.to_json())),
    }
}

/// Texts between our own two halves that are not what both agreed on.
fn bug(error: serde_json::Error) -> Error {
    Error::new(Status::GenericFailure, format!("a bug in trunkline: {error}"))
}

#[napi]
impl NativeClient {
    /// A client of these options and this environment, both JSON. `number` comes back in letters: when its key is asked
    /// for, and with events. Bad options throw an error whose message is the description of a `ConfigError` as JSON.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        border: Reference<NativeBorder>,
        number: u32,
        options: String,
        environment: String,
    ) -> Result<Self> {
        let border = border.border.clone();
        let tasks = runtime::tasks()
            .ok_or_else(|| Error::new(Status::GenericFailure, "no threads for the runtime"))?;
        // Both hold keys.
        let [options, environment] = [options, environment].map(Zeroizing::new);
        let options = serde_json::from_str(&options).map_err(bug)?;
        let environment: Environment = serde_json::from_str(&environment).map_err(bug)?;
        let environment = Zeroizing::new(environment);
        let mailbox = border.mailbox.clone();
        let ask = Box::new(move |function| mailbox.push(Letter::AskKey { client: number, function }));
        // The client has the events and these the wake: by a weak hand, or it would hold itself.
        let told: Arc<OnceLock<Weak<Events>>> = Arc::default();
        let (slot, mailbox) = (told.clone(), border.mailbox.clone());
        let wake = Box::new(move || {
            if let Some(events) = slot.get().and_then(Weak::upgrade) {
                mailbox.push(Letter::Events { client: number, events });
            }
        });
        let client = Client::new(options, &environment, tasks, ask, wake)
            .map_err(|error| Error::new(Status::InvalidArg, error.to_json()))?;
        let _ = told.set(Arc::downgrade(client.events()));
        Ok(Self {
            number,
            client: Arc::new(client),
            border,
            listener: Mutex::default(),
            log: OnceLock::new(),
            recent: Mutex::default(),
        })
    }

    /// Whether these are options of each call of a batch: the description of an error as JSON where they are not.
    #[napi(catch_unwind)]
    pub fn check_batch(&self, options: String) -> Option<String> {
        self.options(Some(options), CallKind::Batch).err().map(|error| error.to_json())
    }

    /// Starts a call whose answer comes whole. Returns the description of an error as JSON where it cannot be begun.
    #[napi(catch_unwind)]
    pub fn call(
        &self,
        id: u32,
        kind: u32,
        body: String,
        path: Option<String>,
        options: Option<String>,
    ) -> Result<Option<String>> {
        let prepared = self.prepare(kind, body, path, self.options(options, CallKind::Whole));
        begin(prepared, |call| {
            let arrival = self.client.arrival(self.border.witness(id, kind));
            let client = self.client.clone();
            self.border.start(id, Flow::Nothing, move || client.call_arrived(call, arrival))
        })
    }

    /// Starts a call whose answer comes as events. As `call`.
    #[napi(catch_unwind)]
    pub fn stream(
        &self,
        id: u32,
        kind: u32,
        body: String,
        path: Option<String>,
        options: Option<String>,
    ) -> Result<Option<String>> {
        let prepared = self.prepare(kind, body, path, self.options(options, CallKind::Stream));
        begin(prepared, |call| {
            let interval = call.options.flush_interval;
            let mailbox = self.border.mailbox.clone();
            // The outlet tells of its pieces and is told in the letter which it is: by a weak hand, or it would hold itself.
            let outlet = Arc::new_cyclic(|this: &std::sync::Weak<Outlet>| {
                let this = this.clone();
                Outlet::new(Box::new(move |first| {
                    let Some(outlet) = this.upgrade() else { return };
                    let letter = Letter::Pieces { id, outlet };
                    if first { mailbox.push(letter) } else { mailbox.push_within(letter, interval) }
                }))
            });
            let arrival = self.client.arrival(self.border.witness(id, kind));
            let (client, own) = (self.client.clone(), outlet.clone());
            self.border.start(id, Flow::Events(outlet), move || client.stream_arrived(call, own, arrival))
        })
    }

    /// The number of its pool in this process, which other clients may share.
    #[napi(getter, catch_unwind)]
    pub fn pool(&self) -> u32 {
        self.client.pool_number()
    }

    /// Opens connections ahead of the first request.
    #[napi(catch_unwind)]
    pub fn warm(&self, id: u32, connections: u32, provider: Option<String>) -> Result<()> {
        let client = self.client.clone();
        self.border.start(id, Flow::Nothing, move || async move {
            client.warm(connections as usize, provider.as_deref()).await.map(|()| nothing())
        })
    }

    /// Other keys for a provider: a key, or several, as JSON. The description of an error as JSON where they are none.
    #[napi(catch_unwind)]
    pub fn rotate_key(&self, provider: String, keys: String) -> Result<Option<String>> {
        let keys = Zeroizing::new(keys);
        let keys = serde_json::from_str(&keys).map_err(bug)?;
        Ok(self.client.rotate_key(&provider, keys).err().map(|error| error.to_json()))
    }

    /// The answer to a question for a key, by the number of the function that was to give it: the key, or why there is none.
    #[napi(catch_unwind)]
    pub fn set_key(&self, number: u32, key: Option<String>, error: Option<String>) {
        match (key.map(Zeroizing::new), error) {
            (Some(key), None) => self.client.set_key(number, Ok(&key)),
            (_, error) => self.client.set_key(number, Err(error.as_deref().unwrap_or("no string"))),
        }
    }

    /// The figures, as JSON.
    #[napi(catch_unwind)]
    pub fn metrics(&self) -> Result<String> {
        serde_json::to_string(&self.client.metrics()).map_err(bug)
    }

    /// The figures as a text for whoever scrapes them. Bad options throw an error whose message is the description of a `ConfigError` as JSON.
    #[napi(catch_unwind)]
    pub fn export(&self, options: String, as_json: bool) -> Result<String> {
        let options = serde_json::from_str(&options).map_err(bug)?;
        self.client.export(options, as_json).map_err(|error| Error::new(Status::InvalidArg, error.to_json()))
    }

    /// What was spent, as JSON: since the client was made (`all`), or in an hour, day or month, the one of now or the one before it.
    #[napi(catch_unwind)]
    pub fn costs(&self, window: String, before: bool) -> Result<String> {
        let window = Window::ALL.into_iter().find(|known| known.as_str() == window);
        let period = window.map_or(Period::All, |window| match before {
            true => Period::Before(window),
            false => Period::Now(window),
        });
        serde_json::to_string(&self.client.costs(period)).map_err(bug)
    }

    /// What pooling, cache and single flight have saved, as JSON.
    #[napi(catch_unwind)]
    pub fn savings(&self) -> Result<String> {
        serde_json::to_string(&self.client.savings()).map_err(bug)
    }

    /// What is wrong that calls go on in spite of.
    #[napi(catch_unwind)]
    pub fn problem(&self) -> Option<String> {
        self.client.problem()
    }

    /// Whether letters come with the connections of the pool that open and close.
    #[napi(catch_unwind)]
    pub fn listen(&self, on: bool) {
        let mut listener = self.listener.lock();
        *listener = on.then(|| {
            let (client, mailbox) = (self.number, self.border.mailbox.clone());
            // By a weak hand: an inbox has the mailbox, and the mailbox would have the inbox.
            let wake = move |inbox: &Arc<Inbox>| {
                mailbox.push(Letter::Connections { client, inbox: Arc::downgrade(inbox) });
            };
            self.client.listen(Box::new(wake))
        });
    }

    /// Whether letters come with what happens to calls: retries, circuits, alerts.
    #[napi(catch_unwind)]
    pub fn listen_to_calls(&self, on: bool) {
        self.client.events().listen(on);
    }

    /// How much letters bring of what happens inside: 0 for nothing, 1 for errors, up to 5 for everything.
    #[napi(catch_unwind)]
    pub fn set_log_level(&self, level: u32) {
        if level == 0 && self.log.get().is_none() {
            return;
        }
        let log = self.log.get_or_init(|| {
            let (client, mailbox) = (self.number, self.border.mailbox.clone());
            let wake = move |log: &Arc<Log>| mailbox.push(Letter::Logs { client, log: log.clone() });
            Log::new(self.client.number(), Box::new(wake))
        });
        log.set_level(level.min(5) as u8);
    }

    /// Refuses new calls from now on.
    #[napi(catch_unwind)]
    pub fn begin_close(&self) {
        self.client.begin_close();
    }

    /// Lets go of the pool; ends once every socket that no other client shares is closed.
    #[napi(catch_unwind)]
    pub fn finish_close(&self, id: u32) -> Result<()> {
        let client = self.client.clone();
        self.border.start(id, Flow::Nothing, move || async move {
            let settled = client.settle_cassette().await;
            client.finish_close().await;
            settled.map(|()| nothing())
        })
    }
}

impl NativeClient {
    fn prepare(
        &self,
        kind: u32,
        body: String,
        path: Option<String>,
        options: Parsed<Arc<CallOptions>>,
    ) -> Parsed<Call> {
        Ok(Call { endpoint: endpoint_of(kind, path), body, options: options? })
    }

    pub(super) fn options(&self, text: Option<String>, kind: CallKind) -> Parsed<Arc<CallOptions>> {
        let Some(text) = text else { return self.client.call_options_of(kind, None) };
        if !Recent::takes(&text) {
            return self.read_options(text, kind);
        }
        if let Some(options) = self.recent.lock().find(kind, &text) {
            return Ok(options);
        }
        let options = self.read_options(text.clone(), kind)?;
        self.recent.lock().keep(kind, text, options.clone());
        Ok(options)
    }

    fn read_options(&self, text: String, kind: CallKind) -> Parsed<Arc<CallOptions>> {
        // Headers may be credentials.
        let text = Zeroizing::new(text);
        let options =
            serde_json::from_str(&text).map_err(|_| error::Error::config("options: must be an object"))?;
        self.client.call_options_of(kind, Some(options))
    }
}

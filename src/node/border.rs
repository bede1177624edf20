//! An environment's calls: started, cancelled, delivered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use napi::bindgen_prelude::{Function, Uint32Array};
use napi::{Env, Error, Result, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::hooks::{self, Questions};
use super::mailbox::{Letter, Mailbox};
use super::runtime;
use super::wake::{self, KeepAlive};
use super::wire::{self, Deliver, Words};
use crate::client::{
    Answer, Ask, Drain, Fetched, Form, Head, Mode, Outlet, Reading, Taken, TellOf, Upload, Whole, Witness,
};
use crate::error::{self, Kind};
use crate::job::Control;
use crate::pool::Inbox;
use crate::telemetry::{Events, Log};

/// How long one turn may deliver before the event loop gets its own.
const TURN: Duration = Duration::from_millis(4);
/// What an error costs JavaScript that a turn does not see: it is made in the microtasks after it, with its stack.
const ERROR: Duration = Duration::from_micros(16);

/// A buffer for the pieces of a stream is used again up to here.
const KEPT: usize = 512;

/// Kinds of letters, as `lib/border.js` has them.
mod kind {
    pub(super) const ANSWER: u32 = 1;
    pub(super) const FAILURE: u32 = 2;
    pub(super) const ABORTED: u32 = 3;
    pub(super) const PIECES: u32 = 4;
    pub(super) const ASK_KEY: u32 = 5;
    pub(super) const ASK_MATCH: u32 = 6;
    pub(super) const CONNECTIONS: u32 = 7;
    pub(super) const EVENTS: u32 = 8;
    pub(super) const HEAD: u32 = 9;
    pub(super) const BYTES: u32 = 10;
    pub(super) const ASK: u32 = 11;
    pub(super) const FETCHED: u32 = 12;
    pub(super) const PIECE: u32 = 13;
    pub(super) const TOLD: u32 = 20;
    pub(super) const ASK_HOOK: u32 = 21;
    pub(super) const LOGS: u32 = 22;
}

/// Beside the kind of a call, as `lib/witness.js` has them.
mod flag {
    /// Somebody wants to know of it, also of how it failed.
    pub(super) const WATCHED: u32 = 0x100;
    /// What happens to its attempts is told.
    pub(super) const TOLD: u32 = 0x200;
    /// Each attempt is asked for.
    pub(super) const ASKED: u32 = 0x400;
}

/// What an environment has.
#[derive(Debug)]
pub(super) struct Border {
    pub(super) mailbox: Arc<Mailbox>,
    keep_alive: KeepAlive,
    words: Words,
    calls: Mutex<Calls>,
    questions: Questions,
    /// Nothing is delivered any more.
    gone: AtomicBool,
}

/// By the numbers that JavaScript gives.
#[derive(Debug, Default)]
struct Calls {
    running: Vec<Option<Running>>,
    count: usize,
    serial: u64,
}

#[derive(Debug)]
struct Running {
    /// Of all calls of the environment: JavaScript's numbers are given out again.
    serial: u64,
    state: State,
    flow: Flow,
}

#[derive(Debug)]
enum State {
    /// Left for the runtime, which has not begun it.
    Left,
    /// Cancelled before it was begun.
    Cancelled,
    Begun(AbortHandle),
}

/// What passes by the border while a call runs.
#[derive(Debug, Clone, Default)]
pub(super) enum Flow {
    #[default]
    Nothing,
    Events(Arc<Outlet>),
    /// The body of a fetch, and that of its request where it comes in pieces.
    Bytes(Arc<Drain>, Option<Arc<Upload>>),
    Job(Arc<Control>),
}

/// How a call ends well.
pub(super) trait Ending: Send + 'static {
    fn letter(self, id: u32) -> Letter;
}

impl Ending for Answer {
    fn letter(self, id: u32) -> Letter {
        let Self { body, meta } = self;
        Letter::Answer { id, body, meta }
    }
}

impl Ending for Fetched {
    fn letter(self, id: u32) -> Letter {
        Letter::Fetched { id, head: self.head }
    }
}

impl Border {
    /// Runs the call that `make` makes on the runtime. Whatever becomes of it, its number comes back in one letter.
    pub(super) fn start<F, E: Ending>(
        self: &Arc<Self>,
        id: u32,
        flow: Flow,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = std::result::Result<E, error::Error>> + Send + 'static,
    {
        let intake = runtime::intake()
            .ok_or_else(|| Error::new(Status::GenericFailure, "no threads for the runtime"))?;
        let end = End { mailbox: self.mailbox.clone(), id, sent: false };
        let serial = self.enter(id, flow);
        let border = self.clone();
        intake.put(move |tasks| {
            // Boxed: tokio moves a task's future and its result in one cell, which should be small.
            let call = Box::pin(make());
            let task = tasks.spawn("call", async move { end.send(call.await) });
            border.begun(id, serial, task);
        });
        Ok(())
    }

    fn enter(&self, id: u32, flow: Flow) -> u64 {
        let mut calls = self.calls.lock();
        let at = id as usize;
        if calls.running.len() <= at {
            calls.running.resize_with(at + 1, || None);
        }
        calls.serial += 1;
        let serial = calls.serial;
        calls.running[at] = Some(Running { serial, state: State::Left, flow });
        calls.count += 1;
        self.mailbox.set_calls(calls.count);
        if calls.count == 1 {
            self.keep_alive.set(true);
        }
        serial
    }

    /// The task of a call runs. It is over at once if nobody wants it any more.
    fn begun(&self, id: u32, serial: u64, task: AbortHandle) {
        let mut calls = self.calls.lock();
        let running = calls.running.get_mut(id as usize).and_then(Option::as_mut);
        match running.filter(|running| running.serial == serial) {
            Some(Running { state: state @ State::Left, .. }) => *state = State::Begun(task),
            // Cancelled, or gone with its environment; or ended, and then this does nothing.
            _ => task.abort(),
        }
    }

    fn cancel(&self, id: u32) {
        let mut calls = self.calls.lock();
        let Some(running) = calls.running.get_mut(id as usize).and_then(Option::as_mut) else { return };
        match &running.state {
            State::Begun(task) => task.abort(),
            State::Left | State::Cancelled => running.state = State::Cancelled,
        }
    }

    /// Delivers what is there, in parcels, for at most one turn.
    pub(super) fn drain(&self, deliver: &Deliver) {
        let started = Instant::now();
        let mut to_come = Duration::ZERO;
        let mut buffer = String::new();
        let mut letters = self.mailbox.take().into_iter();
        while letters.len() > 0 {
            let went_well = wire::scoped(deliver, || {
                let mut parcel = deliver.parcel(&self.words);
                while !parcel.is_full()
                    && let Some(letter) = letters.next()
                {
                    if matches!(letter, Letter::Failure { .. }) {
                        to_come += ERROR;
                    }
                    self.add(&mut parcel, letter, &mut buffer);
                }
                let more = letters.len() > 0 && started.elapsed() + to_come >= TURN;
                let sent = parcel.is_empty() || parcel.send(more);
                (sent, more)
            });
            match went_well {
                (true, false) => {}
                // The rest in a turn of its own, which JavaScript asks for once others had theirs.
                (true, true) => return self.mailbox.put_back(letters.collect()),
                // JavaScript threw, which Node reports; the rest is no part of that.
                (false, _) => {
                    self.mailbox.put_back(letters.collect());
                    return self.mailbox.wake();
                }
            }
        }
    }

    fn add(&self, parcel: &mut wire::Parcel<'_>, letter: Letter, buffer: &mut String) {
        match letter {
            Letter::Answer { id, body, meta } => {
                // What gathered since the last letter comes before the end.
                self.add_last_pieces(parcel, id);
                self.ended(id);
                parcel.add(id, kind::ANSWER, 0, &[&body, &meta]);
            }
            Letter::Failure { id, error } => {
                self.add_last_pieces(parcel, id);
                self.ended(id);
                parcel.add(id, kind::FAILURE, 0, &[error.as_bytes()]);
            }
            Letter::Aborted { id } => {
                self.ended(id);
                parcel.add(id, kind::ABORTED, 0, &[]);
            }
            Letter::Pieces { id, outlet } => add_pieces(parcel, id, &outlet, buffer),
            Letter::Head { id, head } => {
                parcel.add(id, kind::HEAD, head.status.into(), &[head.text.as_bytes()]);
            }
            Letter::Bytes { id, drain } => add_bytes(parcel, id, &drain.take()),
            Letter::Ask { id, upload } => {
                // A connection may ask after the end of the call, whose number another one has by then.
                if self.upload(id).is_some_and(|own| std::ptr::eq(Arc::as_ptr(&own), upload.as_ptr())) {
                    parcel.add(id, kind::ASK, 0, &[]);
                }
            }
            Letter::Fetched { id, head } => {
                let flow = self.flow(id);
                self.ended(id);
                add_fetched(parcel, id, head, &flow);
            }
            Letter::AskKey { client, function } => parcel.add(client, kind::ASK_KEY, function, &[]),
            Letter::Connections { client, inbox } => {
                if let Some(inbox) = inbox.upgrade() {
                    add_connections(parcel, client, &inbox);
                }
            }
            Letter::Events { client, events } => add_events(parcel, client, &events),
            Letter::Logs { client, log } => add_logs(parcel, client, &log),
            Letter::Told { id, text } => parcel.add(id, kind::TOLD, 0, &[text.as_bytes()]),
            Letter::AskHook { id, question, text } => {
                parcel.add(id, kind::ASK_HOOK, question, &[text.as_bytes()]);
            }
            Letter::AskMatch { question, matcher, request } => {
                parcel.add(question, kind::ASK_MATCH, matcher, &[request.as_bytes()]);
            }
        }
    }

    /// What a stream has left when it ends. Where its reader has not come yet, JavaScript keeps it, as objects.
    fn add_last_pieces(&self, parcel: &mut wire::Parcel<'_>, id: u32) {
        match self.flow(id) {
            Flow::Nothing | Flow::Job(_) => {}
            Flow::Events(outlet) => {
                outlet.choose(Mode::Objects);
                add_pieces(parcel, id, &outlet, &mut String::new());
            }
            Flow::Bytes(drain, _) => {
                drain.choose(Reading::Pieces);
                add_bytes(parcel, id, &drain.take());
            }
        }
    }

    pub(super) fn flow(&self, id: u32) -> Flow {
        let calls = self.calls.lock();
        let running = calls.running.get(id as usize).and_then(Option::as_ref);
        running.map_or(Flow::Nothing, |running| running.flow.clone())
    }

    /// What a fetch has of its request's body, where that comes in pieces.
    pub(super) fn upload(&self, id: u32) -> Option<Arc<Upload>> {
        match self.flow(id) {
            Flow::Bytes(_, upload) => upload,
            _ => None,
        }
    }

    fn ended(&self, id: u32) {
        let mut calls = self.calls.lock();
        if calls.running.get_mut(id as usize).and_then(Option::take).is_some() {
            calls.count -= 1;
            self.mailbox.set_calls(calls.count);
            if calls.count == 0 {
                self.keep_alive.set(false);
            }
        }
    }

    /// Who is told of a call by letters, and asked, by the flags beside its kind; mostly nobody.
    pub(super) fn witness(self: &Arc<Self>, id: u32, flags: u32) -> Option<Arc<Witness>> {
        if flags & flag::WATCHED == 0 {
            return None;
        }
        let (tells, asks) = (flags & flag::TOLD != 0, flags & flag::ASKED != 0);
        let mailbox = self.mailbox.clone();
        let tell = move |text| mailbox.push(Letter::Told { id, text });
        let border = self.clone();
        let ask = move |question| {
            let text = hooks::text_of(&question);
            let question = border.questions.put(question);
            border.mailbox.push(Letter::AskHook { id, question, text });
        };
        let tell = tells.then(|| Box::new(tell) as TellOf);
        Some(Arc::new(Witness::new(tell, asks.then(|| Box::new(ask) as Ask))))
    }

    pub(super) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// The environment goes, and its calls with it.
    pub(super) fn close(&self) {
        self.gone.store(true, Ordering::Release);
        self.mailbox.close();
        for running in self.calls.lock().running.drain(..).flatten() {
            if let State::Begun(task) = running.state {
                task.abort();
            }
        }
    }
}

/// `buffer`: what goes from stream to stream, so that small pieces cost no memory anew; a large one stays with no stream.
fn add_pieces(parcel: &mut wire::Parcel<'_>, id: u32, outlet: &Outlet, buffer: &mut String) {
    if let Some(Taken { form, text, bytes }) = outlet.take_into(buffer) {
        let kind = match form {
            Form::Pieces => kind::PIECES,
            Form::Text => kind::PIECE,
        };
        parcel.add(id, kind, bytes as u32, &[text.as_bytes()]);
    }
    if buffer.capacity() > KEPT {
        *buffer = String::new();
    }
}

fn add_bytes(parcel: &mut wire::Parcel<'_>, id: u32, pieces: &[Bytes]) {
    if !pieces.is_empty() {
        parcel.add_bytes(id, kind::BYTES, 0, &[], pieces);
    }
}

/// The end of a fetch: its status, and the head if it was not told; then the body, if it is taken whole.
fn add_fetched(parcel: &mut wire::Parcel<'_>, id: u32, head: Option<Head>, flow: &Flow) {
    let Flow::Bytes(drain, _) = flow else { return };
    let status = head.as_ref().map_or(0, |head| head.status.into());
    let mut texts: Vec<&[u8]> = head.iter().map(|head| head.text.as_bytes()).collect();
    match drain.finish() {
        Whole::Pieces(pieces) => {
            add_bytes(parcel, id, &pieces);
            parcel.add(id, kind::FETCHED, status, &texts);
        }
        Whole::Text(text) => {
            texts.push(&text);
            parcel.add(id, kind::FETCHED, status, &texts);
        }
        Whole::Bytes(pieces) => parcel.add_bytes(id, kind::FETCHED, status, &texts, &pieces),
    }
}

fn add_connections(parcel: &mut wire::Parcel<'_>, client: u32, inbox: &Inbox) {
    let (events, lost) = inbox.take();
    // A list of our own plain values can always be written.
    if let Ok(text) = serde_json::to_vec(&events) {
        parcel.add(client, kind::CONNECTIONS, lost, &[&text]);
    }
}

fn add_events(parcel: &mut wire::Parcel<'_>, client: u32, events: &Events) {
    let (events, lost) = events.take();
    if let Ok(text) = serde_json::to_vec(&events) {
        parcel.add(client, kind::EVENTS, lost, &[&text]);
    }
}

fn add_logs(parcel: &mut wire::Parcel<'_>, client: u32, log: &Log) {
    let (records, lost) = log.take();
    // Each is JSON.
    let text = format!("[{}]", records.join(","));
    parcel.add(client, kind::LOGS, lost, &[text.as_bytes()]);
}

/// Sends a call's one end, whatever becomes of its task.
struct End {
    mailbox: Arc<Mailbox>,
    id: u32,
    sent: bool,
}

impl End {
    fn send<E: Ending>(mut self, result: std::result::Result<E, error::Error>) {
        self.sent = true;
        let id = self.id;
        self.mailbox.push(match result {
            Ok(end) => end.letter(id),
            Err(error) => Letter::Failure { id, error: error.to_json() },
        });
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.sent {
            return;
        }
        let id = self.id;
        self.mailbox.push(if std::thread::panicking() {
            tracing::error!(target: "trunkline::call", "a bug in trunkline: the task of a call panicked");
            let error = error::Error::new(Kind::Internal, "a bug in trunkline: the call's task panicked");
            Letter::Failure { id, error: error.to_json() }
        } else {
            Letter::Aborted { id }
        });
    }
}

/// The environment's end of the border: one for each, or one for each time that a test runner reads the package anew.
#[napi(js_name = "Border")]
#[derive(Debug)]
pub struct NativeBorder {
    pub(super) border: Arc<Border>,
}

/// Collected, or the environment has gone, which then has closed the border.
impl Drop for NativeBorder {
    fn drop(&mut self) {
        if !self.border.gone.load(Ordering::Acquire) {
            self.border.close();
            self.border.keep_alive.disconnect();
        }
    }
}

#[napi]
impl NativeBorder {
    /// `deliver(count, more, ...texts)` is called with what has come; `words` has its numbers. `threads`: of the runtime,
    /// 0 for the default; without effect once it runs. `is_node`: whether the event loop is Node's own, and so libuv's.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        deliver: Function<'_, (), ()>,
        mut words: Uint32Array,
        threads: u32,
        is_node: bool,
    ) -> Result<Self> {
        if threads > 0 {
            runtime::set_threads(threads as usize);
        }
        let words = Words::of(&mut words)?;
        let border = wake::connect(&env, &deliver, is_node, |waker, keep_alive| {
            Arc::new(Border {
                mailbox: Arc::new(Mailbox::new(waker)),
                keep_alive,
                words,
                calls: Mutex::default(),
                questions: Questions::default(),
                gone: AtomicBool::new(false),
            })
        })?;
        Ok(Self { border })
    }

    /// Cancels a call, if it still runs. Its number comes back as aborted.
    #[napi(catch_unwind)]
    pub fn cancel(&self, id: u32) {
        self.border.cancel(id);
    }

    /// Says what the reader of a stream wants: 1 objects, 2 text, 3 lines, 4 only the whole; of a fetch's body: 1 pieces, 2 all of it
    /// as text, 3 as bytes. False where it was said.
    #[napi(catch_unwind)]
    pub fn choose(&self, id: u32, mode: u32) -> bool {
        match self.border.flow(id) {
            Flow::Nothing | Flow::Job(_) => false,
            Flow::Events(outlet) => outlet.choose(match mode {
                1 => Mode::Objects,
                2 => Mode::Text,
                3 => Mode::Lines,
                _ => Mode::Whole,
            }),
            Flow::Bytes(drain, _) => drain.choose(match mode {
                1 => Reading::Pieces,
                2 => Reading::Text,
                _ => Reading::Bytes,
            }),
        }
    }

    /// The reader of a stream is through with this many bytes.
    #[napi(catch_unwind)]
    pub fn read(&self, id: u32, bytes: u32) {
        match self.border.flow(id) {
            Flow::Nothing | Flow::Job(_) => {}
            Flow::Events(outlet) => outlet.read(bytes as usize),
            Flow::Bytes(drain, _) => drain.read(bytes as usize),
        }
    }

    /// Delivers what is left of a turn that was cut short.
    #[napi(catch_unwind)]
    pub fn drain(&self, env: Env, deliver: Function<'_, (), ()>) {
        self.border.drain(&Deliver::of(&env, &deliver));
    }

    /// How many tasks of this library run in the process.
    #[napi(getter, catch_unwind)]
    pub fn tasks(&self) -> u32 {
        runtime::tasks().map_or(0, |tasks| tasks.running() as u32)
    }
}

/// An answer that says nothing.
pub(super) fn nothing() -> Answer {
    Answer { body: Bytes::from_static(b"null"), meta: Vec::new() }
}

//! The stand-in upstream's handle, for `trunkline/testing`.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use napi::bindgen_prelude::Reference;
use napi::{Error, Result, Status};
use napi_derive::napi;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::border::{Border, Flow, NativeBorder, nothing};
use super::mailbox::{Letter, Mailbox};
use crate::mock::{Asker, Matcher, MockOptions, MockUpstream, RecordedRequest};

/// An upstream, as JavaScript holds it: until it is closed (`lib/mock.js`). When this is collected, the upstream closes.
#[napi(js_name = "Mock")]
#[derive(Debug)]
pub struct NativeMock {
    upstream: MockUpstream,
    border: Arc<Border>,
    questions: Arc<Questions>,
}

/// Matches that JavaScript decides.
#[derive(Debug)]
struct Questions {
    mailbox: Arc<Mailbox>,
    open: Mutex<HashMap<u32, oneshot::Sender<bool>>>,
}

/// Numbers of questions, for all upstreams of the process: they share their environment's mailbox.
static NEXT_QUESTION: AtomicU32 = AtomicU32::new(1);

impl Asker for Questions {
    fn ask(&self, id: u32, request: &RecordedRequest) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let question = NEXT_QUESTION.fetch_add(1, Ordering::Relaxed);
        // A request without a text matches nothing: the sender is dropped.
        if let Ok(request) = serde_json::to_string(request) {
            self.open.lock().insert(question, answer);
            self.mailbox.push(Letter::AskMatch { question, matcher: id, request });
        }
        answered
    }
}

/// Reads what JavaScript passed; the error is for its caller, who wrote no text that has lines and columns.
fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    let wrong = |error: String| Error::new(Status::InvalidArg, error);
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| wrong(format!("{what}: {error}")))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = error.path().to_string();
        wrong(match (what, error.path().iter().next()) {
            (_, None) => format!("{what}: {}", error.inner()),
            // As everywhere, what options hold is named without them.
            ("options", Some(_)) => format!("{at}: {}", error.inner()),
            (_, Some(_)) => format!("{what}.{at}: {}", error.inner()),
        })
    })
}

fn write<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(Status::GenericFailure, error.to_string()))
}

#[napi]
impl NativeMock {
    /// Listens on loopback; options as JSON.
    #[napi(constructor, catch_unwind)]
    pub fn new(border: Reference<NativeBorder>, options: String) -> Result<Self> {
        let options: MockOptions = read("options", &options)?;
        let port = options.port;
        let upstream = MockUpstream::start(options).map_err(|error| {
            let what = match error.kind() {
                ErrorKind::AddrInUse | ErrorKind::PermissionDenied => format!("port: {port} cannot be had: "),
                _ => String::new(),
            };
            Error::new(Status::GenericFailure, format!("{what}{error}"))
        })?;
        let questions =
            Arc::new(Questions { mailbox: border.border.mailbox.clone(), open: Mutex::default() });
        upstream.set_asker(questions.clone());
        Ok(Self { upstream, border: border.border.clone(), questions })
    }

    #[napi(getter, catch_unwind)]
    pub fn url(&self) -> String {
        self.upstream.url()
    }

    #[napi(getter, catch_unwind)]
    pub fn ca(&self) -> Option<String> {
        self.upstream.ca().map(str::to_owned)
    }

    /// `matcher`: `{"fields": …}`, `{"path": …}` or `{"ask": number}`; `answer` as in the typings.
    #[napi(catch_unwind)]
    pub fn reply(&self, matcher: String, answer: String) -> Result<()> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Given {
            Fields(serde_json::Map<String, serde_json::Value>),
            Path(String),
            Ask(u32),
        }
        let matcher = match read("match", &matcher)? {
            Given::Fields(fields) => Matcher::Fields(fields),
            Given::Path(path) => Matcher::Path(path),
            Given::Ask(id) => Matcher::Ask(id),
        };
        self.upstream.reply(matcher, read("answer", &answer)?);
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn fault(&self, fault: String, scope: String) -> Result<()> {
        self.upstream.fault(read("fault", &fault)?, read("options", &scope)?);
        Ok(())
    }

    /// Whether a request matches, as it was asked by a letter.
    #[napi(catch_unwind)]
    pub fn answer(&self, question: u32, matches: bool) {
        if let Some(answer) = self.questions.open.lock().remove(&question) {
            // The request may have gone away meanwhile.
            let _ = answer.send(matches);
        }
    }

    #[napi(catch_unwind)]
    pub fn requests(&self) -> Result<String> {
        write(&self.upstream.requests())
    }

    #[napi(catch_unwind)]
    pub fn connections(&self) -> Result<String> {
        write(&self.upstream.connections())
    }

    #[napi(catch_unwind)]
    pub fn reset(&self) {
        self.upstream.reset();
    }

    /// Ends once the port is free and every connection gone.
    #[napi(catch_unwind)]
    pub fn close(&self, id: u32) -> Result<()> {
        self.upstream.close();
        let closed = self.upstream.closed();
        self.border.start(id, Flow::Nothing, move || async move {
            closed.await;
            Ok(nothing())
        })
    }
}

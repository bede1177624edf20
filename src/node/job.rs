//! A client's jobs, from a file to a file.

use std::sync::Arc;

use bytes::Bytes;
use napi::Result;
use napi_derive::napi;
use serde_json::Value;

use super::border::{Ending, Flow, NativeBorder};
use super::client::NativeClient;
use super::mailbox::Letter;
use crate::config::{CallKind, CallOptions, JobOptions, WorkOptions};
use crate::error::Error;
use crate::job::{Control, FileJob, MakeWitness, Stage, Summary, WorkJob};

/// Its answer is what it came to, as JSON.
impl Ending for Summary {
    fn letter(self, id: u32) -> Letter {
        // A type of strings and numbers always has a text.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        Letter::Answer { id, body: Bytes::from(body), meta: Vec::new() }
    }
}

#[napi]
impl NativeClient {
    /// Starts a job; `call` are the options of each of its calls, `flags` those of a call beside its kind: its hook is asked before each of
    /// their attempts, by the job's number. Returns the description of an error as JSON where it cannot be begun.
    #[napi(catch_unwind)]
    pub fn job(&self, id: u32, options: String, call: String, flags: u32) -> Result<Option<String>> {
        let prepared = self.prepared(&options, JobOptions::parse, call);
        let (options, call) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Some(error.to_json())),
        };
        let control = Arc::<Control>::default();
        let witness = self.asked(id, flags);
        let job = FileJob { client: self.client.clone(), options, call, witness };
        self.border.start(id, Flow::Job(control.clone()), move || job.run(control)).map(|()| None)
    }

    /// Starts this process's part of a job that another one feeds; as [`NativeClient::job`].
    #[napi(catch_unwind)]
    pub fn work(&self, id: u32, options: String, call: String, flags: u32) -> Result<Option<String>> {
        let prepared = self.prepared(&options, WorkOptions::parse, call);
        let (options, call) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Some(error.to_json())),
        };
        let control = Arc::<Control>::default();
        let witness = self.asked(id, flags);
        let work = WorkJob { client: self.client.clone(), options, call, witness };
        self.border.start(id, Flow::Job(control.clone()), move || work.run(control)).map(|()| None)
    }
}

impl NativeClient {
    fn prepared<T>(
        &self,
        options: &str,
        parse: fn(Value) -> std::result::Result<T, Error>,
        call: String,
    ) -> std::result::Result<(T, Arc<CallOptions>), Error> {
        let options =
            serde_json::from_str(options).map_err(|_| Error::config("options: must be an object"))?;
        Ok((parse(options)?, self.options(Some(call), CallKind::Batch)?))
    }

    /// What is asked before each attempt of a job's calls, where anything is.
    fn asked(&self, id: u32, flags: u32) -> Option<MakeWitness> {
        let border = self.border.clone();
        border.witness(id, flags)?;
        Some(Box::new(move || border.witness(id, flags)))
    }
}

#[napi]
impl NativeBorder {
    /// How far a job is, as JSON; none once it has ended.
    #[napi(catch_unwind)]
    pub fn job_progress(&self, id: u32) -> Option<String> {
        let Flow::Job(control) = self.border.flow(id) else { return None };
        serde_json::to_string(&control.progress()).ok()
    }

    /// Ends a job: what is under way may end, or `now`; `cancels`: providers' batches are ended too.
    #[napi(catch_unwind)]
    pub fn stop_job(&self, id: u32, now: bool, cancels: bool) {
        if let Flow::Job(control) = self.border.flow(id) {
            control.stop(match (now, cancels) {
                (true, _) => Stage::Now,
                (false, true) => Stage::Cancelling,
                (false, false) => Stage::Stopping,
            });
        }
    }
}

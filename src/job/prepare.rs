//! All that is done before the first call of a job of files: what can be refused is refused before anything is sent.

use std::collections::HashSet;
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::batches::{self, Log};
use super::files::{beside, sync_folder};
use super::item::CheckModel;
use super::journal::Journal;
use super::progress::{Control, Spent};
use super::results::Results;
use super::survey::Survey;
use super::trouble;
use crate::client::Client;
use crate::config::{BadLines, CallOptions, JobOptions};
use crate::error::Error;
use crate::policy::money::Usd;

/// What is ready before the first call.
pub(super) struct Ready {
    pub(super) survey: Survey,
    pub(super) results: Results,
    pub(super) journal: Journal,
    /// Of what is with providers' batches, where there are any.
    pub(super) log: Option<Log>,
}

/// All that can be refused before anything is sent. None where the job was stopped meanwhile.
pub(super) fn prepare(
    options: &JobOptions,
    check: &CheckModel,
    refusal: &dyn Fn() -> Option<Error>,
    control: &Control,
) -> Result<Option<Ready>, Error> {
    let JobOptions { input, output, errors, .. } = options;
    // Before anything is made. A pipe cannot be read twice, and to open it would wait.
    let refused = |error| trouble::input(input, &error);
    if !fs::metadata(input).map_err(refused)?.is_file() {
        return Err(trouble::of("input", format!("the input {} is no ordinary file", input.display())));
    }
    File::open(input).map_err(refused)?;
    let journal = Journal::open(&beside(output, ".job"))?;
    let state = journal.state();
    let on_disk = journal.is_old.then_some([state.output, state.errors]);
    let mut results = match Results::open([output, errors], on_disk, options.retry_failed) {
        Ok(results) => results,
        Err(error) => {
            leave(options, journal);
            return Err(error);
        }
    };
    let spill = beside(output, ".job.names");
    let survey = Survey::of(input, check, spill, state.begun, &results, control).and_then(|survey| {
        let refuses = |survey: &Survey| survey.bad > 0 && options.bad_lines == BadLines::Refuse;
        match survey {
            Some(survey) if refuses(&survey) => Err(survey.refusal()),
            survey => refusal().map_or(Ok(survey), Err),
        }
    });
    let survey = match survey {
        Ok(Some(survey)) => survey,
        nothing => {
            leave(options, journal);
            return nothing.map(|_| None);
        }
    };
    let left_behind = Log::path(output);
    let log = match &options.provider_batch {
        Some(_) => Log::open(output, &survey.digest).map(Some),
        None if left_behind.exists() => Err(batches::left_behind(&left_behind)),
        None => Ok(None),
    };
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            leave(options, journal);
            return Err(error);
        }
    };
    results.forget_failed()?;
    // Those were under way when the run before this was cut off.
    let cut_off = if state.input == survey.digest { survey.open } else { 0 };
    let counts = &control.counts;
    let [succeeded, failed] = results.files.each_ref().map(|file| file.lines);
    counts.succeeded.store(succeeded, Ordering::Relaxed);
    counts.failed.store(failed, Ordering::Relaxed);
    counts.resumed.store(succeeded + failed, Ordering::Relaxed);
    counts.repeated.store(state.cut_off + cut_off, Ordering::Relaxed);
    let usd = Usd::from_picos(state.picos.parse().unwrap_or_default());
    control.restore(Spent { tokens: state.tokens, usd });
    // As they are now: lines that were cut off, or are asked for again, are no longer there.
    for file in &results.files {
        file.file.sync_data().map_err(|error| trouble::output(&file.path, &error))?;
    }
    let on_disk = results.files.each_ref().map(|file| file.bytes);
    let begun = journal.change(|state| {
        state.input.clone_from(&survey.digest);
        [state.output, state.errors] = on_disk;
        state.begun = 0;
        state.cut_off += cut_off;
    });
    let kept = begun.and_then(|()| journal.sync());
    kept.map_err(|error| trouble::output(journal.path(), &error))?;
    sync_folder(output);
    Ok(Some(Ready { survey, results, journal, log }))
}

/// Nothing was begun: what was made for it, and has nothing in it, goes again.
pub(super) fn leave(options: &JobOptions, journal: Journal) {
    if journal.is_old {
        return;
    }
    let _ = journal.remove();
    for path in [&options.output, &options.errors] {
        if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Says what is wrong with a model.
pub(super) fn checker(client: &Arc<Client>, options: &JobOptions, has_provider: bool) -> Arc<CheckModel> {
    let (client, only_routes) = (client.clone(), options.only_routes && !has_provider);
    let selected = if has_provider { Vec::new() } else { options.selected.clone() };
    Arc::new(move |model| {
        if selected.iter().any(|name| name == model) {
            return Some("body.model is a route that a function selects, which no job calls".to_owned());
        }
        (only_routes && !client.has_route(model)).then(|| "body.model has no route".to_owned())
    })
}

/// Whether models go to providers that take batches, where lines are to be answered by them.
pub(super) struct Batched {
    client: Arc<Client>,
    provider: Option<String>,
    is_wanted: bool,
    known: Mutex<HashSet<String>>,
    refusal: Mutex<Option<Error>>,
}

impl Batched {
    pub(super) fn of(client: &Arc<Client>, options: &JobOptions, call: &CallOptions) -> Self {
        Self {
            client: client.clone(),
            provider: call.provider.clone(),
            is_wanted: options.provider_batch.as_ref().is_some_and(|batch| !batch.cancel),
            known: Mutex::default(),
            refusal: Mutex::default(),
        }
    }

    /// A model of a line. Nothing is said of the line: it is the job that is refused.
    pub(super) fn look(&self, model: &str) -> Option<String> {
        if self.is_wanted && !self.known.lock().contains(model) {
            self.known.lock().insert(model.to_owned());
            if let Err(error) = self.client.batch_target(model, self.provider.as_deref()) {
                self.refusal.lock().get_or_insert(error);
            }
        }
        None
    }

    pub(super) fn refusal(&self) -> Option<Error> {
        self.refusal.lock().take()
    }
}

//! A part on its way to its provider: uploaded and asked for, until it has a batch's id.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::desk::Desk;
use super::log::Log;
use super::spool::Places;
use super::{Batches, Running, is_final, now};
use crate::client::{BatchDesk, BatchTarget, Client};
use crate::config::CallOptions;
use crate::error::{Error, Kind};
use crate::job::progress::{Control, Stage};
use crate::job::{End, direct};

/// What is to become of a part that could not be sent.
enum Trouble {
    Again(Error),
    End(End),
    Lost(String, String),
    NoDesk(Error),
}

impl Batches {
    /// Has a part answered by its provider, if it has no batch yet. `looks`: some of that may have been done.
    pub(super) async fn submit(
        &mut self,
        at: usize,
        mut looks: bool,
        control: &Control,
    ) -> Result<Option<End>, Error> {
        let mut failing: Option<Instant> = None;
        let mut pauses = 0;
        loop {
            let gone = async {
                control.stopped(Stage::Stopping).await;
                tokio::select! {
                    () = tokio::time::sleep(self.grace) => {}
                    () = control.stopped(Stage::Now) => {}
                }
            };
            if control.stage() > Stage::Running {
                return Ok(Some(End::Stopped));
            }
            // What is about to be given an id is waited for.
            let step = {
                let gone = std::pin::pin!(gone);
                let step = std::pin::pin!(Self::step(
                    (&self.client, &self.call, &self.output),
                    &mut self.log,
                    &self.running[at],
                    looks
                ));
                tokio::select! {
                    step = step => step,
                    () = gone => return Ok(Some(End::Stopped)),
                }
            };
            let Err(error) = step else {
                self.running[at].state = "sent".to_owned();
                self.show(control);
                return Ok(None);
            };
            looks = true;
            let (part, target) = (self.running[at].part, self.running[at].target.clone());
            match trouble_of(error, &target) {
                Trouble::NoDesk(error) => {
                    // Nothing of it is there.
                    self.log.free(part)?;
                    Places::of(&self.output, part).remove();
                    self.running.remove(at);
                    return Err(error);
                }
                Trouble::End(end) => return Ok(Some(end)),
                Trouble::Lost(code, message) => {
                    self.log.lost(part, &code, &message)?;
                    return Ok(None);
                }
                Trouble::Again(error) => {
                    control.waits(&error, None);
                    if failing.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                        return Ok(Some(End::Ended { error }));
                    }
                    pauses += 1;
                    let least = match &error.kind {
                        Kind::Api(api) => Duration::from_millis(api.retry_after_ms.unwrap_or_default()),
                        _ => Duration::ZERO,
                    };
                    let pause = direct::pause_after(pauses).max(least.min(self.patience));
                    if self.stops_within(pause, control).await {
                        return Ok(Some(End::Stopped));
                    }
                }
            }
        }
    }

    /// Uploads and asks, each as far as that was not done.
    async fn step(
        (client, call, output): (&Arc<Client>, &CallOptions, &Path),
        log: &mut Log,
        running: &Running,
        looks: bool,
    ) -> Result<(), Error> {
        let Some(part) = log.parts.iter().find(|part| part.plan.part == running.part).cloned() else {
            return Ok(());
        };
        if part.batch.is_some() || part.lost.is_some() || running.is_over {
            return Ok(());
        }
        let (plan, number) = (&part.plan, part.plan.part);
        let desk = Desk { client, options: call, target: &running.target };
        let places = Places::of(output, number);
        let mut file = part.file.clone();
        if desk.target.desk == BatchDesk::Files && file.is_none() {
            let found = if looks { desk.find_file(plan).await? } else { None };
            let id = match found {
                Some(id) => id,
                None => desk.upload(&places.load(BatchDesk::Files, plan)).await?,
            };
            log.file(number, &id)?;
            file = Some(id);
        }
        let mut found = None;
        if let Some(since) = part.created.filter(|_| looks) {
            let known: Vec<_> = log.parts.iter().filter_map(|part| part.batch.clone()).collect();
            found = desk.find_batch(plan, file.as_deref(), since, &known).await?;
        }
        let was_found = found.is_some();
        let id = match found {
            Some(id) => id,
            None => {
                log.create(number, now())?;
                desk.create(plan, file.as_deref(), places.load(running.target.desk, plan)).await?
            }
        };
        log.batch(number, &id, was_found)?;
        // OpenAI has the file; what is taken for Anthropic's by its looks may be none of ours.
        if !(was_found && desk.target.desk == BatchDesk::Messages) {
            places.forget_requests();
        }
        Ok(())
    }
}

fn trouble_of(error: Error, target: &BatchTarget) -> Trouble {
    let Kind::Api(api) = &error.kind else {
        return if error.retryable { Trouble::Again(error) } else { Trouble::End(End::Ended { error }) };
    };
    match (api.status, api.class) {
        (404 | 405 | 501, _) => {
            let path = match target.desk {
                BatchDesk::Files => "/files and /batches",
                BatchDesk::Messages => "/messages/batches",
            };
            let (status, provider) = (api.status, target.provider());
            let mut refusal = Error::config(format!(
                "providerBatch: the provider '{provider}' has no endpoint for batches (it answered {status}; {path} are asked for \
                 below its baseURL); leave providerBatch out, or route the model to a provider that has one"
            ));
            refusal.provider = Some(provider.clone());
            Trouble::NoDesk(refusal)
        }
        _ if is_final(&error) => Trouble::End(End::Ended { error }),
        _ if error.retryable => Trouble::Again(error),
        _ => {
            let code = api.fields.code.clone().or_else(|| api.fields.kind.clone());
            Trouble::Lost(code.unwrap_or_else(|| "batch_refused".to_owned()), error.message.clone())
        }
    }
}

//! Batches as their providers have them: looked at until all are over.

use std::time::Duration;

use tokio::time::Instant;

use super::desk::{Desk, Standing};
use super::log::Part;
use super::{Batches, Running, is_final};
use crate::client::BatchDesk;
use crate::error::{Error, Kind};
use crate::job::progress::{Control, Stage};
use crate::job::{End, Sink};

/// So many times the interval is the longest pause between two looks at a batch.
const LONGEST: u32 = 12;

/// What a look has shown.
enum Look {
    Same,
    News,
    /// It was not with the provider, and now is.
    Sent,
    Ended(End),
}

/// Whose trouble it is.
pub(super) enum Failing {
    Job(Error),
    Provider(Error),
}

impl Batches {
    /// Looks at batches until all are over.
    pub(super) async fn follow<K: Sink>(
        &mut self,
        sink: &K,
        control: &Control,
        mut cancels: bool,
    ) -> Result<Option<End>, Error> {
        let longest = self.options.interval.saturating_mul(LONGEST);
        let mut pause = self.options.interval;
        let mut failing: Option<Instant> = None;
        loop {
            cancels |= control.stage() == Stage::Cancelling;
            let mut news = false;
            let mut is_open = false;
            for at in 0..self.running.len() {
                if self.running[at].is_over {
                    continue;
                }
                if control.stage() == Stage::Now || (control.stage() == Stage::Stopping && !cancels) {
                    return Ok(Some(End::Stopped));
                }
                match self.look(at, sink, control, cancels).await {
                    Ok(Some(Look::Ended(end))) => return Ok(Some(end)),
                    Ok(Some(Look::News)) => news = true,
                    Ok(Some(Look::Same)) => {}
                    // Whether the provider has room for it by now, the next look tells.
                    Ok(Some(Look::Sent)) => {
                        is_open = true;
                        continue;
                    }
                    Ok(None) => return Ok(Some(End::Stopped)),
                    Err(Failing::Job(error)) => return Err(error),
                    Err(Failing::Provider(error)) => {
                        if is_final(&error) {
                            return Ok(Some(End::Ended { error }));
                        }
                        control.waits(&error, None);
                        is_open = true;
                        // Room comes when others are over.
                        let waits = matches!(error.kind, Kind::QueueFull) && self.has_others(at);
                        if !waits && failing.get_or_insert_with(Instant::now).elapsed() >= self.patience {
                            return Ok(Some(End::Ended { error }));
                        }
                        continue;
                    }
                }
                failing = None;
                is_open |= !self.running[at].is_over;
            }
            self.show(control);
            if !is_open && self.running.iter().all(|running| running.is_over) {
                return Ok(cancels.then_some(End::Stopped));
            }
            pause = if news { self.options.interval } else { pause.mul_f64(1.5).min(longest) };
            self.wait_for(pause, control, cancels).await;
        }
    }

    /// Whether other batches are under way.
    fn has_others(&self, at: usize) -> bool {
        let has_batch = |running: &Running| {
            let part = self.log.parts.iter().find(|part| part.plan.part == running.part);
            part.is_some_and(|part| part.batch.is_some())
        };
        let all = self.running.iter().enumerate();
        all.filter(|(other, _)| *other != at).any(|(_, running)| !running.is_over && has_batch(running))
    }

    /// The next look is due, or something was said.
    async fn wait_for(&self, pause: Duration, control: &Control, cancels: bool) {
        if cancels {
            // It may take its time; whoever will not wait says so.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = control.stopped(Stage::Now) => {}
            }
        } else {
            self.stops_within(pause, control).await;
        }
    }

    /// One look at a batch; what is over is gathered. None where the job is to end at once.
    async fn look<K: Sink>(
        &mut self,
        at: usize,
        sink: &K,
        control: &Control,
        cancels: bool,
    ) -> Result<Option<Look>, Failing> {
        let number = self.running[at].part;
        let Some(part) = self.log.parts.iter().find(|part| part.plan.part == number).cloned() else {
            self.running[at].is_over = true;
            return Ok(Some(Look::News));
        };
        if let Some((code, message)) = &part.lost {
            self.give_up(at, (code, message), sink, control).await.map_err(Failing::Job)?;
            return Ok(Some(Look::News));
        }
        let Some(batch) = part.batch.clone() else {
            if cancels {
                return self.forget(at, &part).await.map(Some);
            }
            let end = self.submit(at, true, control).await.map_err(Failing::Job)?;
            return Ok(Some(end.map_or(Look::Sent, Look::Ended)));
        };
        let (client, call) = (self.client.clone(), self.call.clone());
        let target = self.running[at].target.clone();
        let desk = Desk { client: &client, options: &call, target: &target };
        let stopped = async {
            control.stopped(if cancels { Stage::Now } else { Stage::Stopping }).await;
        };
        let mut stopped = std::pin::pin!(stopped);
        if cancels && !self.running[at].is_cancelled {
            tokio::select! {
                cancelled = desk.cancel(&batch) => cancelled.map_err(Failing::Provider)?,
                () = &mut stopped => return Ok(None),
            }
            self.running[at].is_cancelled = true;
        }
        let standing = tokio::select! {
            standing = desk.look(&batch) => standing.map_err(Failing::Provider)?,
            () = &mut stopped => return Ok(Some(Look::Same)),
        };
        match standing {
            Standing::Running { state, completed, failed } => {
                let running = &mut self.running[at];
                let news =
                    running.completed != completed || running.failed != failed || running.state != state;
                (running.state, running.completed, running.failed) = (state, completed, failed);
                Ok(Some(if news { Look::News } else { Look::Same }))
            }
            Standing::Over { state, results } => {
                self.running[at].state = state;
                self.gather(at, &desk, &results, sink, control).await?;
                Ok(Some(Look::News))
            }
            Standing::Refused { passes: true, code, message } => {
                let mut error = Error::new(
                    Kind::QueueFull,
                    format!("{} has no room for another batch: {code}", target.provider()),
                );
                error.cause = Some(message);
                self.log.again(number).map_err(Failing::Job)?;
                "waiting".clone_into(&mut self.running[at].state);
                Err(Failing::Provider(error))
            }
            Standing::Refused { passes: false, code, message } => {
                self.log.lost(number, &code, &message).map_err(Failing::Job)?;
                self.give_up(at, (&code, &message), sink, control).await.map_err(Failing::Job)?;
                Ok(Some(Look::News))
            }
            Standing::Gone => {
                let gone = ("batch_gone", "the provider knows the batch no more");
                self.give_up(at, gone, sink, control).await.map_err(Failing::Job)?;
                Ok(Some(Look::News))
            }
        }
    }

    /// A part without a batch is not to have one; unless it has, and nobody heard of it.
    async fn forget(&mut self, at: usize, part: &Part) -> Result<Look, Failing> {
        if let Some(since) = part.created {
            let (client, call) = (self.client.clone(), self.call.clone());
            let target = self.running[at].target.clone();
            let desk = Desk { client: &client, options: &call, target: &target };
            let known: Vec<_> = self.log.parts.iter().filter_map(|part| part.batch.clone()).collect();
            let found = desk.find_batch(&part.plan, part.file.as_deref(), since, &known).await;
            // One that is only taken for ours by its looks is not ours to end.
            let is_sure = target.desk == BatchDesk::Files;
            if let Some(id) = found.map_err(Failing::Provider)?.filter(|_| is_sure) {
                self.log.batch(part.plan.part, &id, true).map_err(Failing::Job)?;
                return Ok(Look::Sent);
            }
        }
        (self.running[at].is_over, self.running[at].is_cancelled) = (true, true);
        Ok(Look::News)
    }
}

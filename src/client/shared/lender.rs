//! Asks the store for all gates of a client at once, and brings them what it lends.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::link::Link;
use super::till::Work;
use super::{Bell, Shared, Shares, Till};
use crate::client::gate::Gate;
use crate::config::SharedConfig;
use crate::policy::lease::Question;
use crate::policy::money::Scope;
use crate::pool::Tasks;

/// Between attempts to connect: doubled from the first to the last, and each up to so much shorter, so that not all come at once.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

struct Lender {
    shared: Weak<Shared>,
    bell: Arc<Bell>,
    config: SharedConfig,
    /// By which Redis knows this client.
    me: String,
    /// Where it holds places.
    named: Vec<Arc<str>>,
    till: Option<Arc<Till>>,
}

pub(super) fn start(shared: &Arc<Shared>, tasks: &Tasks) {
    let lender = Lender {
        shared: Arc::downgrade(shared),
        bell: shared.bell.clone(),
        config: shared.config.clone(),
        me: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        named: Vec::new(),
        till: None,
    };
    tasks.spawn("lender", lender.run());
}

impl Lender {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while self.shared.strong_count() > 0 {
            let connected = Link::connect(&self.config.redis.0).await;
            let Some(shared) = self.shared.upgrade() else { return };
            let mut link = match connected {
                Ok(link) => {
                    shared.is_there(&link);
                    link
                }
                Err(problem) => {
                    shared.is_away(problem);
                    drop(shared);
                    let shorter = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    self.pause(shorter).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    continue;
                }
            };
            drop(shared);
            let began = Instant::now();
            match self.lend(&mut link).await {
                Ok(()) => return self.leave(&mut link).await,
                Err(problem) => {
                    tracing::warn!(target: "trunkline::shared", problem, "the connection to Redis is lost");
                    if began.elapsed() > LAST_PAUSE {
                        pause = FIRST_PAUSE;
                    } else {
                        // It connects, and then does not do what it should.
                        if let Some(shared) = self.shared.upgrade() {
                            shared.is_away(problem);
                        }
                        self.pause(pause).await;
                        pause = (pause * 2).min(LAST_PAUSE);
                    }
                }
            }
        }
    }

    /// Shorter if the client goes.
    async fn pause(&self, time: Duration) {
        let gone = async {
            while self.shared.strong_count() > 0 {
                self.bell.wait(None).await;
            }
        };
        tokio::select! {
            () = gone => {}
            () = sleep(time) => {}
        }
    }

    /// Until the client has gone, or the connection.
    async fn lend(&mut self, link: &mut Link) -> Result<(), String> {
        loop {
            self.bell.unset();
            let Some(shared) = self.shared.upgrade() else { return Ok(()) };
            let now = Instant::now();
            let mut next: Option<Instant> = None;
            let mut asking: Vec<(Arc<Gate>, Arc<str>, Question)> = Vec::new();
            let gates = shared.gates.lock().clone();
            for Shares { name, gate } in gates {
                let Some(gate) = gate.upgrade() else { continue };
                match gate.due(now) {
                    Some(at) if at <= now => {
                        if let Some(question) = gate.question(now) {
                            asking.push((gate, name, question));
                        }
                    }
                    Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                    None => {}
                }
            }
            self.till.clone_from(&*shared.till.lock());
            drop(shared);
            let spending = match self.till.as_ref().and_then(|till| till.due(now)) {
                Some(at) if at <= now => self.till.as_ref().map(|till| till.work(now)),
                Some(at) => {
                    next = Some(next.map_or(at, |next| next.min(at)));
                    None
                }
                None => None,
            };
            if asking.is_empty() && spending.is_none() {
                self.bell.wait(next).await;
                continue;
            }
            let keys: Vec<String> = asking.iter().flat_map(|(_, name, _)| self.keys(name)).collect();
            let questions: Vec<_> = asking.iter().map(|(_, _, question)| question.clone()).collect();
            // Both at once: one round trip.
            let mut other = link.clone();
            let lent = async {
                if questions.is_empty() {
                    Ok(Vec::new())
                } else {
                    link.lend(&self.me, &keys, &questions).await
                }
            };
            let (replies, spent) = tokio::join!(lent, self.spend(&mut other, spending));
            for (_, name, question) in &asking {
                if question.has_places() && !self.named.contains(name) {
                    self.named.push(name.clone());
                }
            }
            match replies {
                Ok(replies) => {
                    for ((gate, ..), reply) in asking.into_iter().zip(replies) {
                        gate.lend(Some(reply));
                    }
                }
                Err(problem) => {
                    asking.into_iter().for_each(|(gate, ..)| gate.lend(None));
                    return Err(problem);
                }
            }
            spent?;
        }
    }

    /// Tells of budgets, and asks for more of them.
    async fn spend(&self, link: &mut Link, work: Option<Work>) -> Result<(), String> {
        let Some((till, work)) = self.till.as_ref().zip(work) else { return Ok(()) };
        let window = till.policy.window.as_str();
        let names = work.of.iter().map(Scope::to_string);
        let mut keys: Vec<String> = names
            .flat_map(|name| {
                ["spent", "held", "heldUntil"].map(|what| self.config.key(&format!("{what}:{window}"), &name))
            })
            .collect();
        keys.push(self.config.key("message", &self.me));
        let done = link.spend(&self.me, &keys, &work).await;
        match &done {
            Ok(done) => till.done(&work, done),
            Err(_) => till.undone(),
        }
        done.map(drop)
    }

    /// Gives back all places, which would be held until their time is over.
    async fn leave(&self, link: &mut Link) {
        while let Some(till) = &self.till
            && till.due(Instant::now()).is_some_and(|at| at <= Instant::now())
        {
            if self.spend(link, Some(till.work(Instant::now()))).await.is_err() {
                break;
            }
        }
        let keys: Vec<String> = self.named.iter().flat_map(|name| self.keys(name)).collect();
        let questions = vec![Question::leaving(); self.named.len()];
        if !questions.is_empty()
            && let Err(problem) = link.lend(&self.me, &keys, &questions).await
        {
            tracing::debug!(target: "trunkline::shared", problem, "places were not given back");
        }
    }

    fn keys(&self, name: &str) -> [String; 4] {
        ["levels", "asking", "places", "until"].map(|what| self.config.key(what, name))
    }
}

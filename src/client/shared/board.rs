//! Circuits that several processes share: which have opened and closed is posted for the others, and what they have posted is looked at each second. Of all
//! who could probe a target, one does.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Shared;
use crate::policy::breaker::State;
use crate::policy::circuits::{Changes, Circuits, bounded};
use crate::pool::Tasks;

/// It is looked so often what others have posted.
const LOOK: Duration = Duration::from_secs(1);
/// Who asks whether to probe waits no longer for the answer.
const PATIENCE: Duration = Duration::from_millis(250);

/// Told of what others have found out: of which model, or of the provider.
pub(in crate::client) type TellOfCircuit = Box<dyn Fn(&Arc<str>, Option<Arc<str>>, State) + Send + Sync>;

/// See the module.
pub(super) struct Board {
    recovery: Duration,
    /// Further ones come behind those that there are.
    providers: Mutex<Vec<Posted>>,
    /// What was posted when it was last looked.
    known: Mutex<HashSet<(usize, String)>>,
    posted: Notify,
    tell: TellOfCircuit,
}

/// A provider whose circuits are kept together.
struct Posted {
    name: Arc<str>,
    circuits: Arc<Circuits>,
    /// That the others have not been told yet.
    news: Vec<News>,
}

#[derive(Debug, Clone, Serialize)]
struct News {
    name: String,
    opened: bool,
}

#[derive(Serialize)]
struct Work<'a> {
    recovery: f64,
    providers: Vec<Posts<'a>>,
}

#[derive(Serialize)]
struct Posts<'a> {
    news: &'a [News],
}

#[derive(Deserialize)]
struct Looked {
    provider: usize,
    open: Vec<Open>,
}

#[derive(Deserialize)]
struct Open {
    name: String,
    /// Seconds.
    left: f64,
}

impl Shared {
    /// Has circuits kept together: those of [`Self::post_circuits`]. It is begun once.
    pub(in crate::client) fn keep_circuits(
        self: &Arc<Self>,
        recovery: Duration,
        tell: TellOfCircuit,
        tasks: &Tasks,
    ) {
        let board = Arc::new(Board {
            recovery,
            providers: Mutex::default(),
            known: Mutex::default(),
            posted: Notify::new(),
            tell,
        });
        if self.board.set(board.clone()).is_ok() {
            tasks.spawn("board", watch(Arc::downgrade(self), board));
        }
    }

    /// Those of a provider, where circuits are kept together.
    pub(in crate::client) fn post_circuits(&self, provider: &Arc<str>, circuits: &Arc<Circuits>) {
        let Some(board) = self.board.get() else { return };
        let (name, circuits) = (provider.clone(), circuits.clone());
        board.providers.lock().push(Posted { name, circuits, news: Vec::new() });
        board.posted.notify_one();
    }

    /// Tells the others of circuits that changed here.
    pub(in crate::client) fn post(&self, provider: &Arc<str>, model: &Arc<str>, changes: Changes) {
        let Some(board) = self.board.get() else { return };
        let mut providers = board.providers.lock();
        let Some(posted) = providers.iter_mut().find(|posted| posted.name == *provider) else { return };
        let both = [(changes.model, Some(model)), (changes.provider, None)];
        for (state, model) in both {
            let opened = match state {
                Some(State::Open) => true,
                Some(State::Closed) => false,
                Some(State::HalfOpen) | None => continue,
            };
            posted.news.push(News { name: name_of(model), opened });
            board.posted.notify_one();
        }
    }

    /// Whether this process is the one that probes. Where nobody can be asked, it is.
    pub(in crate::client) async fn may_probe(&self, provider: &str, model: &Arc<str>) -> bool {
        let Some(board) = self.board.get() else { return true };
        let key = self.config.key("probe", &format!("{provider}:{}", name_of(Some(model))));
        let asked = async {
            let mut link = self.link().await?;
            link.take(&key, board.recovery).await
        };
        timeout(PATIENCE, asked).await.ok().flatten().unwrap_or(true)
    }

    async fn look(&self, board: &Board) {
        let Some(mut link) = self.link().await else { return };
        let of = |posted: &mut Posted| (posted.name.clone(), std::mem::take(&mut posted.news));
        let (names, news): (Vec<_>, Vec<_>) = board.providers.lock().iter_mut().map(of).unzip();
        if names.is_empty() {
            return;
        }
        let posts = news.iter().map(|news| Posts { news });
        let work = Work { recovery: board.recovery.as_secs_f64(), providers: posts.collect() };
        let keys: Vec<_> = names.iter().map(|name| self.config.key("circuits", name)).collect();
        // One that failed keeps the others back until they know.
        let probes: Vec<_> = news
            .iter()
            .zip(&names)
            .flat_map(|(news, provider)| {
                let closed = news.iter().filter(|news| !news.opened);
                closed.map(move |news| self.config.key("probe", &format!("{provider}:{}", news.name)))
            })
            .collect();
        let Ok(text) = serde_json::to_string(&work) else { return };
        match link.post::<Vec<Looked>>(&keys, &probes, text).await {
            Ok(looked) => board.heard(looked, Instant::now()),
            Err(problem) => {
                tracing::debug!(target: "trunkline::shared", problem, "circuits were not posted");
                // Later; what has changed since comes behind it.
                for (posted, mut before) in board.providers.lock().iter_mut().zip(news) {
                    before.append(&mut posted.news);
                    posted.news = before;
                }
            }
        }
    }
}

impl Board {
    fn circuits(&self, provider: usize) -> Option<(Arc<str>, Arc<Circuits>)> {
        self.providers.lock().get(provider).map(|posted| (posted.name.clone(), posted.circuits.clone()))
    }

    fn heard(&self, looked: Vec<Looked>, now: Instant) {
        let mut open = HashSet::new();
        for Looked { provider, open: circuits } in looked {
            let Some((name, own)) = self.circuits(provider) else { continue };
            for Open { name: circuit, left } in circuits {
                let left = Duration::try_from_secs_f64(left).unwrap_or_default();
                let model = model_of(&circuit);
                if let Some(state) = own.others_opened(model.as_ref(), left, now) {
                    (self.tell)(&name, model, state);
                }
                open.insert((provider, circuit));
            }
        }
        let before = std::mem::replace(&mut *self.known.lock(), open.clone());
        for (provider, circuit) in before.difference(&open) {
            let Some((name, own)) = self.circuits(*provider) else { continue };
            let model = model_of(circuit);
            if let Some(state) = own.others_closed(model.as_ref()) {
                (self.tell)(&name, model, state);
            }
        }
    }
}

/// Looks for as long as there is a client.
async fn watch(shared: Weak<Shared>, board: Arc<Board>) {
    while let Some(shared) = shared.upgrade() {
        shared.look(&board).await;
        drop(shared);
        let _ = timeout(LOOK, board.posted.notified()).await;
    }
}

fn name_of(model: Option<&Arc<str>>) -> String {
    model.map_or_else(|| "provider".to_owned(), |model| format!("model:{}", bounded(model)))
}

fn model_of(name: &str) -> Option<Arc<str>> {
    name.strip_prefix("model:").map(Arc::from)
}

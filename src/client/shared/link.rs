//! What a client shares, asked of Redis.

use std::time::Duration;

use redis::{Cmd, ConnectionInfo, FromRedisValue, RedisError};
use serde::de::DeserializeOwned;

use super::store::{Script, Store, told};
use super::till::{Done, Work};
use crate::policy::lease::{Question, Reply};

/// Redis answers in much less; one that takes longer is as good as none.
const ANSWER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Link {
    store: Store,
    lend: Script,
    spend: Script,
    board: Script,
}

impl Link {
    /// Connects, and finds out whom to.
    pub(super) async fn connect(info: &ConnectionInfo) -> Result<Self, String> {
        let store = Store::connect(info, ANSWER).await.map_err(|error| told(&error))?;
        let mut link = Self {
            store,
            lend: Script::new(include_str!("lend.lua")),
            spend: Script::new(include_str!("spend.lua")),
            board: Script::new(include_str!("board.lua")),
        };
        // What cannot run scripts is found out now, and not by the first call. Without a key: it goes to any node.
        let ping = redis::cmd("EVAL").arg("return 1").arg(1).arg("{trunkline}:ping").clone();
        link.run::<i64>(&ping).await.map_err(|error| told(&error))?;
        Ok(link)
    }

    /// Asks for several gates at once: in one round trip, and in one piece.
    pub(super) async fn lend(
        &mut self,
        me: &str,
        keys: &[String],
        questions: &[Question],
    ) -> Result<Vec<Reply>, String> {
        let texts = questions.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        let texts = texts.map_err(|error| error.to_string())?;
        let script = self.lend.clone();
        let replies: Vec<String> = self.script(&script, me, keys, &texts).await?;
        replies.iter().map(|reply| read(reply)).collect()
    }

    /// Enters what was spent, and speaks for more.
    pub(super) async fn spend(&mut self, me: &str, keys: &[String], work: &Work) -> Result<Done, String> {
        let text = serde_json::to_string(work).map_err(|error| error.to_string())?;
        let script = self.spend.clone();
        read(&self.script::<String>(&script, me, keys, &[text]).await?)
    }

    /// What is kept under a key, and for how many milliseconds yet.
    pub(super) async fn recall(&mut self, key: &str) -> Option<(String, u64)> {
        let mut both = redis::pipe();
        both.get(key).cmd("PTTL").arg(key);
        let (text, left): (Option<String>, i64) = self.store.pipe(&both).await.ok()?;
        Some((text?, u64::try_from(left).ok()?))
    }

    pub(super) async fn remember(&mut self, key: &str, text: &str, ttl: u64) -> Result<(), String> {
        let command = redis::cmd("SET").arg(key).arg(text).arg("PX").arg(ttl).clone();
        self.run(&command).await.map_err(|error| told(&error))
    }

    /// Posts and looks at circuits; these probes are over.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        keys: &[String],
        probes: &[String],
        text: String,
    ) -> Result<T, String> {
        let script = self.board.clone();
        let reply: String = self.script(&script, "", keys, &[text]).await?;
        if !probes.is_empty() {
            let command = redis::cmd("DEL").arg(probes).clone();
            self.run::<i64>(&command).await.map_err(|error| told(&error))?;
        }
        read(&reply)
    }

    /// Takes what only one may have at a time, for so long. None where that cannot be asked.
    pub(super) async fn take(&mut self, key: &str, time: Duration) -> Option<bool> {
        let millis = u64::try_from(time.as_millis()).ok()?.max(1);
        let command = redis::cmd("SET").arg(key).arg("1").arg("NX").arg("PX").arg(millis).clone();
        self.run::<Option<String>>(&command).await.ok().map(|taken| taken.is_some())
    }

    async fn script<T: FromRedisValue>(
        &mut self,
        script: &Script,
        me: &str,
        keys: &[String],
        more: &[String],
    ) -> Result<T, String> {
        self.store
            .script(script, keys, [me].into_iter().chain(more.iter().map(String::as_str)))
            .await
            .map_err(|error| told(&error))
    }

    async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        self.store.run(command).await
    }
}

fn read<T: DeserializeOwned>(reply: &str) -> Result<T, String> {
    serde_json::from_str(reply).map_err(|error| format!("its script gave what cannot be read: {error}"))
}

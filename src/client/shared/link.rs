//! The connection to Redis, to Valkey or to a cluster of either, and the scripts that run there.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, ServerErrorKind,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde::de::DeserializeOwned;

use super::till::{Done, Work};
use crate::policy::lease::{Question, Reply};

/// Redis answers in much less; one that takes longer is as good as none.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Link {
    to: To,
    lend: Script,
    spend: Script,
    board: Script,
}

#[derive(Clone)]
enum To {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A script, known to Redis by its hash.
#[derive(Clone)]
struct Script {
    text: &'static str,
    hash: Arc<str>,
}

impl Script {
    fn new(text: &'static str) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        Self { text, hash: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into() }
    }
}

impl Link {
    /// Connects, and finds out whom to.
    pub(super) async fn connect(info: &ConnectionInfo) -> Result<Self, String> {
        let how = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let client = redis::Client::open(info.clone()).map_err(|error| told(&error))?;
        let one = client.get_multiplexed_async_connection_with_config(&how).await;
        let mut one = one.map_err(|error| told(&error))?;
        // Whoever may not ask that may still run scripts.
        let about: String = redis::cmd("INFO").arg("server").query_async(&mut one).await.unwrap_or_default();
        let to = if about.lines().any(|line| line == "redis_mode:cluster") {
            let cluster = ClusterClient::builder([info.clone()])
                .connection_timeout(CONNECT)
                .response_timeout(ANSWER)
                .retries(1)
                .build()
                .map_err(|error| told(&error))?;
            To::Cluster(cluster.get_async_connection().await.map_err(|error| told(&error))?)
        } else {
            To::One(one)
        };
        let mut link = Self {
            to,
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
        let (text, left): (Option<String>, i64) = match &mut self.to {
            To::One(connection) => both.query_async(connection).await.ok()?,
            To::Cluster(connection) => both.query_async(connection).await.ok()?,
        };
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
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len()).arg(keys).arg(me).arg(more);
            command
        };
        let mut reply = self.run(&command("EVALSHA", &script.hash)).await;
        if matches!(&reply, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            reply = self.run(&command("EVAL", script.text)).await;
        }
        reply.map_err(|error| told(&error))
    }

    async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match &mut self.to {
            To::One(connection) => command.query_async(connection).await,
            To::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

fn read<T: DeserializeOwned>(reply: &str) -> Result<T, String> {
    serde_json::from_str(reply).map_err(|error| format!("its script gave what cannot be read: {error}"))
}

/// What went wrong, in words for whoever set it up.
fn told(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => format!("it refuses the user or password ({error})"),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            format!("what answers there does not speak the protocol of Redis ({error})")
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            format!("its user may not run scripts, or not on these keys ({error})")
        }
        ErrorKind::Server(ServerErrorKind::ReadOnly) => {
            format!("it is a replica, which cannot be written ({error})")
        }
        _ if error.is_timeout() => "it does not answer in time".to_owned(),
        _ => error.to_string(),
    }
}

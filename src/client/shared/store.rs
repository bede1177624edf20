//! The connection to Redis, to Valkey or to a cluster of either, and the scripts that run there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError,
    ServerErrorKind, ToRedisArgs,
};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Redis answers in much less; one that takes longer is as good as none.
const CONNECT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(crate) struct Store {
    to: To,
    /// Of whom it is, where it tells.
    version: Option<Arc<str>>,
}

#[derive(Clone)]
enum To {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A script, known to Redis by its hash.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    text: &'static str,
    hash: Arc<str>,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        Self { text, hash: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into() }
    }
}

impl Store {
    /// Connects, and finds out whom to. `answer`: how long a command may take.
    pub(crate) async fn connect(info: &ConnectionInfo, answer: Duration) -> Result<Self, RedisError> {
        let how = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(answer));
        let client = redis::Client::open(info.clone())?;
        let mut one = client.get_multiplexed_async_connection_with_config(&how).await?;
        // Whoever may not ask that may still run scripts.
        let about: String = redis::cmd("INFO").arg("server").query_async(&mut one).await.unwrap_or_default();
        let version = about.lines().find_map(|line| line.strip_prefix("redis_version:")).map(Into::into);
        let to = if about.lines().any(|line| line == "redis_mode:cluster") {
            let cluster = ClusterClient::builder([info.clone()])
                .connection_timeout(CONNECT)
                .response_timeout(answer)
                .retries(1)
                .build()?;
            To::Cluster(cluster.get_async_connection().await?)
        } else {
            To::One(one)
        };
        Ok(Self { to, version })
    }

    /// Its version, where it tells.
    pub(crate) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub(crate) async fn script<T: FromRedisValue>(
        &mut self,
        script: &Script,
        keys: &[String],
        arguments: impl IntoIterator<Item = impl ToRedisArgs> + Clone,
    ) -> Result<T, RedisError> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len()).arg(keys);
            for argument in arguments.clone() {
                command.arg(argument);
            }
            command
        };
        let reply = self.run(&command("EVALSHA", &script.hash)).await;
        if matches!(&reply, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            return self.run(&command("EVAL", script.text)).await;
        }
        reply
    }

    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        match &mut self.to {
            To::One(connection) => command.query_async(connection).await,
            To::Cluster(connection) => command.query_async(connection).await,
        }
    }

    pub(crate) async fn pipe<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> Result<T, RedisError> {
        match &mut self.to {
            To::One(connection) => pipeline.query_async(connection).await,
            To::Cluster(connection) => pipeline.query_async(connection).await,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("version", &self.version).finish_non_exhaustive()
    }
}

/// What went wrong, in words for whoever set it up.
pub(crate) fn told(error: &RedisError) -> String {
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

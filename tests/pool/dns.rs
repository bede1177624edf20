//! Lookups as the pool makes them: how often, how long, and what becomes of addresses that no longer work. Virtual time, real
//! sockets.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;
use tokio::net::TcpListener;
use tokio::time::advance;
use trunkline::pool::{Checkout, Config, Connect, Connector, Kind, Lookup, Origin, Pool, Tasks};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// The nth lookup takes so long, and has this answer; past the last one they hang.
struct Script {
    answers: Vec<(Duration, io::Result<Vec<SocketAddr>>)>,
    lookups: AtomicUsize,
}

impl Script {
    fn new(answers: Vec<(Duration, io::Result<Vec<SocketAddr>>)>) -> Arc<Self> {
        Arc::new(Self { answers, lookups: AtomicUsize::new(0) })
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

impl Lookup for Script {
    fn lookup<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let n = self.lookups.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let Some((time, answer)) = self.answers.get(n) else {
                return std::future::pending().await;
            };
            tokio::time::sleep(*time).await;
            match answer {
                Ok(list) => Ok(list.clone()),
                Err(error) => Err(error.kind().into()),
            }
        })
    }
}

fn connector(lookup: &Arc<Script>) -> Connector {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    Connector::with_lookup(&Config::default(), &tasks, lookup.clone())
}

fn site(port: u16) -> Origin {
    origin(&format!("http://a.test:{port}"))
}

#[tokio::test(start_paused = true)]
async fn the_phases_tell_the_lookup_from_the_connection_and_memory_costs_nothing() {
    let listener = TcpListener::bind(V4).await.unwrap();
    let lookup = Script::new(vec![(300 * MS, Ok(vec![V4]))]);
    let (connector, site) = (connector(&lookup), site(listener.local_addr().unwrap().port()));
    let first = connector.connect(&site).await.unwrap().phases;
    assert_eq!((first.dns, first.connect, first.tls), (300 * MS, Duration::ZERO, Duration::ZERO));
    assert_eq!(connector.connect(&site).await.unwrap().phases.total(), Duration::ZERO);
    assert_eq!(lookup.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_moved_is_found_in_the_same_connect_though_its_old_address_came_from_memory() {
    let old = TcpListener::bind(V6).await.unwrap();
    let port = old.local_addr().unwrap().port();
    let lookup = Script::new(vec![(SECOND, Ok(vec![V6])), (SECOND, Ok(vec![V4])), (SECOND, Ok(vec![V4]))]);
    let (connector, site) = (connector(&lookup), site(port));
    connector.connect(&site).await.unwrap();
    drop(old);
    let _new = TcpListener::bind(SocketAddr::new(V4.ip(), port)).await.unwrap();
    advance(60 * SECOND).await;
    let phases = connector.connect(&site).await.unwrap().phases;
    assert_eq!(phases.dns, SECOND);
    connector.connect(&site).await.unwrap();
    assert_eq!(lookup.lookups(), 2);
}

/// Linux drops what comes in when nobody accepts and the backlog is full; other systems have their own ways.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_host_that_moved_is_not_waited_for_where_it_was() {
    let old = tokio::net::TcpSocket::new_v6().unwrap();
    old.bind(V6).unwrap();
    let old = old.listen(1).unwrap();
    let port = old.local_addr().unwrap().port();
    let answers = [V6, V4].map(|address| (SECOND, Ok(vec![address])));
    let lookup = Script::new(answers.into());
    let (connector, site) = (connector(&lookup), site(port));
    connector.connect(&site).await.unwrap();
    for _ in 0..16 {
        tokio::spawn(tokio::net::TcpStream::connect((V6.ip(), port)));
    }
    settle().await;
    let _new = TcpListener::bind(SocketAddr::new(V4.ip(), port)).await.unwrap();
    advance(60 * SECOND).await;
    let phases = connector.connect(&site).await.unwrap().phases;
    // As long as the lookup took.
    assert_eq!((phases.dns, phases.connect), (Duration::ZERO, SECOND));
    connector.connect(&site).await.unwrap();
    assert_eq!(lookup.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_connect_the_next_one_looks_up_anew() {
    let gone = TcpListener::bind(V4).await.unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(SocketAddr::new(V6.ip(), gone.port())).await.unwrap();
    let lookup = Script::new(vec![(SECOND, Ok(vec![V4])), (SECOND, Ok(vec![V6]))]);
    let (connector, site) = (connector(&lookup), site(listener.local_addr().unwrap().port()));
    assert_eq!(connector.connect(&site).await.unwrap_err().kind(), Kind::Connect);
    connector.connect(&site).await.unwrap();
    assert_eq!(lookup.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_is_an_error_of_dns_with_its_cause_and_is_not_remembered() {
    let listener = TcpListener::bind(V4).await.unwrap();
    let lookup = Script::new(vec![
        (SECOND, Err(io::ErrorKind::TimedOut.into())),
        (SECOND, Ok(vec![])),
        (SECOND, Ok(vec![V4])),
    ]);
    let (connector, site) = (connector(&lookup), site(listener.local_addr().unwrap().port()));
    let error = connector.connect(&site).await.unwrap_err();
    assert_eq!(error.to_string(), "the host name was not resolved: timed out");
    assert_eq!(connector.connect(&site).await.unwrap_err().kind(), Kind::Dns);
    connector.connect(&site).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_costs_connect_timeouts_and_one_lookup_for_each_host() {
    let lookup = Script::new(vec![]);
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let settings = config(10, 10);
    let connector = Connector::with_lookup(&settings, &tasks, lookup.clone());
    let pool = Pool::with_connector(settings, tasks.clone(), Arc::new(connector));
    let impatient = || Checkout { connect_timeout: SECOND, ..how() };
    for round in 0..5 {
        let mut calls = Vec::new();
        for n in 0..8 {
            let host = origin(&format!("http://{}.test", n % 2));
            calls.push(queued(&pool, &host, impatient()).await);
        }
        let mut kinds = HashSet::new();
        for call in calls {
            kinds.insert(format!("{:?}", kind_of(call).await));
        }
        assert_eq!(kinds, HashSet::from([format!("{:?}", Kind::ConnectTimeout(SECOND))]), "round {round}");
    }
    assert_eq!(lookup.lookups(), 2);
}

#[tokio::test]
async fn the_real_lookup_finds_localhost_by_its_name() {
    let listener = TcpListener::bind(V4).await.unwrap();
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    let connector = Connector::new(&Config::default(), &tasks);
    let site = origin(&format!("http://localhost:{}", listener.local_addr().unwrap().port()));
    connector.connect(&site).await.unwrap();
    until("the lookup has ended", || tasks.running() == 0).await;
}

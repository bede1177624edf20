//! A TCP connection to one of a host's addresses: Happy Eyeballs, RFC 8305.
//!
//! The families take turns, that of the best address first ([`interleaved`]). An address that does not answer within 250 ms is
//! not waited for alone: the next one is tried beside it, and at once when one fails; the first connection wins and the others
//! are dropped ([`race`]). hyper-util's connector knows RFC 6555 only: one family as a whole, then the other, and within a
//! family one address after the other.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::super::{Error, Kind};

/// "Connection Attempt Delay", as section 8 recommends it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Attempts at one time, at most: those of one connect count as one socket against the pool's limits.
const SIDE_BY_SIDE: usize = 8;

/// TCP keep-alive finds out about a peer that is gone without a word on a socket without work.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Tries the addresses in their order; also says which of them it is connected to. Not limited in time.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Error> {
    let (stream, address) =
        race(addresses, TcpStream::connect).await.map_err(|error| Error::with(Kind::Connect, error))?;
    // Neither option is worth a connection.
    let _ = stream.set_nodelay(true);
    let keep_alive = socket2::TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
    Ok((stream, address))
}

/// The families by turns, beginning with that of the first address; the order within each stays (section 4, with a "First
/// Address Family Count" of 1).
pub(super) fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first =
        |address: &&SocketAddr| addresses.first().is_some_and(|a| a.is_ipv6() == address.is_ipv6());
    let mut turn = addresses.iter().filter(is_first);
    let mut other = addresses.iter().filter(|address| !is_first(address));
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(turn.next());
        ordered.extend(other.next());
    }
    ordered
}

/// The first connection that comes about (section 5). What loses is dropped with the future.
async fn race<T, F>(
    addresses: &[SocketAddr],
    dial: impl Fn(SocketAddr) -> F,
) -> Result<(T, SocketAddr), NoneConnected>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut failed = NoneConnected { addresses: addresses.len(), telling: None };
    loop {
        if attempts.len() < SIDE_BY_SIDE
            && let Some(address) = waiting.next()
        {
            let attempt = dial(address);
            attempts.push(async move { (address, attempt.await) });
        }
        let may_begin = waiting.len() > 0 && attempts.len() < SIDE_BY_SIDE;
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some((address, Ok(connection))) => return Ok((connection, address)),
                Some((address, Err(error))) => failed.add(address, error),
                None => return Err(failed),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if may_begin => {}
        }
    }
}

/// No address could be connected to, and what one of them said.
#[derive(Debug)]
struct NoneConnected {
    addresses: usize,
    telling: Option<(SocketAddr, io::Error)>,
}

impl NoneConnected {
    /// Keeps the last error; but a family that this machine has no way to says nothing of the host.
    fn add(&mut self, address: SocketAddr, error: io::Error) {
        let is_ours = |error: &io::Error| {
            use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable, Unsupported};
            matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable | Unsupported)
        };
        if !is_ours(&error) || self.telling.as_ref().is_none_or(|(_, kept)| is_ours(kept)) {
            self.telling = Some((address, error));
        }
    }
}

impl fmt::Display for NoneConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.telling, self.addresses) {
            (Some((address, _)), 1) => write!(f, "{address}"),
            (Some((address, _)), count) => write!(f, "none of {count} addresses, {address}"),
            (None, _) => f.write_str("no address"),
        }
    }
}

impl StdError for NoneConnected {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.telling.as_ref().map(|(_, error)| error as _)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[derive(Clone, Copy)]
    enum Plan {
        /// No answer, ever.
        Silent,
        Connects(Duration),
        Fails(Duration, io::ErrorKind),
    }
    use Plan::{Connects, Fails, Silent};

    const REFUSED: Plan = Fails(Duration::ZERO, io::ErrorKind::ConnectionRefused);

    /// A network under virtual time, which notes when each attempt began, and which were dropped before their end.
    struct Net {
        plans: HashMap<SocketAddr, Plan>,
        list: Vec<SocketAddr>,
        start: Instant,
        begun: Mutex<Vec<(String, u128)>>,
        dropped: Mutex<Vec<String>>,
    }

    struct Attempt<'a>(&'a Net, Option<String>);

    impl Drop for Attempt<'_> {
        fn drop(&mut self) {
            self.0.dropped.lock().unwrap().extend(self.1.take());
        }
    }

    impl Net {
        fn of(plans: &[(&str, Plan)]) -> Self {
            let plans: Vec<_> = plans.iter().map(|(ip, plan)| (address(ip), *plan)).collect();
            Self {
                list: plans.iter().map(|(address, _)| *address).collect(),
                plans: plans.into_iter().collect(),
                start: Instant::now(),
                begun: Mutex::default(),
                dropped: Mutex::default(),
            }
        }

        async fn dial(&self, address: SocketAddr) -> io::Result<String> {
            let name = address.ip().to_string();
            self.begun.lock().unwrap().push((name.clone(), self.start.elapsed().as_millis()));
            let mut attempt = Attempt(self, Some(name));
            let result = match self.plans[&address] {
                Silent => std::future::pending().await,
                Connects(after) => {
                    sleep(after).await;
                    Ok(attempt.1.take().unwrap())
                }
                Fails(after, kind) => {
                    sleep(after).await;
                    Err(kind.into())
                }
            };
            attempt.1.take();
            result
        }

        /// Who won, and after how many milliseconds.
        async fn race(&self) -> Result<(String, u128), NoneConnected> {
            let (connection, at) = race(&interleaved(&self.list), |address| self.dial(address)).await?;
            assert_eq!(connection, at.ip().to_string());
            Ok((connection, self.start.elapsed().as_millis()))
        }

        fn begun(&self) -> Vec<(String, u128)> {
            self.begun.lock().unwrap().clone()
        }

        fn dropped(&self) -> Vec<String> {
            self.dropped.lock().unwrap().clone()
        }
    }

    fn address(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 443)
    }

    fn at(times: &[(&str, u128)]) -> Vec<(String, u128)> {
        times.iter().map(|(ip, ms)| ((*ip).to_owned(), *ms)).collect()
    }

    #[test]
    fn families_take_turns_and_the_first_address_says_which_begins() {
        let table: [(&[&str], &[&str]); 5] = [
            (&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"], &["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]),
            (&["1.1.1.1", "::1", "::2", "::3"], &["1.1.1.1", "::1", "::2", "::3"]),
            (&["1.1.1.1", "2.2.2.2", "::1"], &["1.1.1.1", "::1", "2.2.2.2"]),
            (&["::1", "::2"], &["::1", "::2"]),
            (&[], &[]),
        ];
        for (given, ordered) in table {
            let given: Vec<_> = given.iter().map(|ip| address(ip)).collect();
            let ordered: Vec<_> = ordered.iter().map(|ip| address(ip)).collect();
            assert_eq!(interleaved(&given), ordered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_that_swallows_packets_costs_250_ms_and_no_timeout() {
        let net =
            Net::of(&[("::1", Silent), ("::2", Silent), ("1.1.1.1", Connects(20 * MS)), ("2.2.2.2", Silent)]);
        assert_eq!(net.race().await.unwrap(), ("1.1.1.1".into(), 270));
        assert_eq!(net.begun(), at(&[("::1", 0), ("1.1.1.1", 250)]));
        assert_eq!(net.dropped(), ["::1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_makes_way_at_once() {
        let net = Net::of(&[("::1", REFUSED), ("1.1.1.1", REFUSED), ("2.2.2.2", Connects(10 * MS))]);
        assert_eq!(net.race().await.unwrap(), ("2.2.2.2".into(), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_beside_another_attempt_begins_the_next_and_its_delay_counts_from_there() {
        let fails = Fails(100 * MS, io::ErrorKind::ConnectionReset);
        let net =
            Net::of(&[("1.1.1.1", Silent), ("2.2.2.2", fails), ("3.3.3.3", Silent), ("4.4.4.4", Silent)]);
        assert!(tokio::time::timeout(Duration::from_secs(10), net.race()).await.is_err());
        assert_eq!(net.begun(), at(&[("1.1.1.1", 0), ("2.2.2.2", 250), ("3.3.3.3", 350), ("4.4.4.4", 600)]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_connection_wins_whoever_began_first_and_the_others_are_dropped() {
        let net = Net::of(&[
            ("::1", Connects(600 * MS)),
            ("1.1.1.1", Connects(900 * MS)),
            ("::2", Connects(50 * MS)),
            ("2.2.2.2", Connects(MS)),
        ]);
        assert_eq!(net.race().await.unwrap(), ("::2".into(), 550));
        let mut dropped = net.dropped();
        dropped.sort();
        assert_eq!(dropped, ["1.1.1.1", "::1"]);
        assert_eq!(net.begun().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_alone_is_waited_for() {
        let net = Net::of(&[("::1", Connects(5000 * MS))]);
        assert_eq!(net.race().await.unwrap(), ("::1".into(), 5000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_attempts_at_one_time_are_bounded() {
        let ips: Vec<_> = (1..=20).map(|n| format!("10.0.0.{n}")).collect();
        let fails = Fails(60_000 * MS, io::ErrorKind::TimedOut);
        let plans: Vec<_> = ips.iter().map(|ip| (ip.as_str(), fails)).collect();
        let net = Net::of(&plans);
        let error = net.race().await.unwrap_err();
        assert_eq!(error.to_string(), "none of 20 addresses, 10.0.0.20:443");
        let begun = net.begun();
        for pair in begun.windows(SIDE_BY_SIDE + 1) {
            assert!(pair[SIDE_BY_SIDE].1 >= pair[0].1 + 60_000, "{pair:?}");
        }
        assert_eq!(begun.len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_error_tells_of_the_host_rather_than_of_a_family_that_is_not_here() {
        let no_way = Fails(Duration::ZERO, io::ErrorKind::NetworkUnreachable);
        let table: [(&[(&str, Plan)], &str); 4] = [
            (
                &[("::1", no_way), ("1.1.1.1", REFUSED)],
                "none of 2 addresses, 1.1.1.1:443: connection refused",
            ),
            (
                &[("1.1.1.1", REFUSED), ("::1", no_way)],
                "none of 2 addresses, 1.1.1.1:443: connection refused",
            ),
            (&[("1.1.1.1", no_way), ("::1", no_way)], "none of 2 addresses, [::1]:443: network unreachable"),
            (&[("::1", REFUSED)], "[::1]:443: connection refused"),
        ];
        for (plans, message) in table {
            let error = Error::with(Kind::Connect, Net::of(plans).race().await.unwrap_err());
            assert_eq!(error.causes().unwrap(), message);
        }
        let error = Net::of(&[]).race().await.unwrap_err();
        assert_eq!(error.to_string(), "no address");
    }
}

//! Real servers from Debian's packages, in front of the stand-in upstream.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline::mock::MockUpstream;
use trunkline::pool::Tasks;

use crate::support::{Site, client_of, merge};

/// Longer than any server takes to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Below the ports that systems give to sockets that connect, so that none of those takes a port between a stop and a start.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Keeps a server: each line on the input is a signal for it, and the end of the input, which comes however the test ends, is its end.
const KEEPER: &str = r#"
"$@" </dev/null &
while read -r signal; do kill -s "$signal" $!; done
kill -s TERM $!
wait $!
"#;

/// How the client and the server speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    H1,
    H1Tls,
    H2c,
    H2,
}

pub const FRONTS: [Front; 4] = [Front::H1, Front::H1Tls, Front::H2c, Front::H2];

impl Front {
    pub fn is_h2(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }
}

/// A server that runs, on three ports of its own.
pub struct Peer {
    keeper: Option<Child>,
    command: Vec<String>,
    dir: PathBuf,
    ports: usize,
    pub plain: u16,
    /// HTTP/2 in plain text.
    pub clear: u16,
    /// HTTP/2 and HTTP/1.1 over TLS.
    pub tls: u16,
}

/// Where a server keeps its files, and its ports: what its configuration is written from.
pub struct Place {
    pub dir: PathBuf,
    pub plain: u16,
    pub clear: u16,
    pub tls: u16,
    /// A PEM with certificate and key.
    pub pem: PathBuf,
}

/// Whether the program is here. If not, this test is skipped, which is said on the terminal itself: the harness shows nothing of a
/// test that did not fail. In CI it fails.
pub fn has(program: &str) -> bool {
    if find(program).is_some() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci.is_empty()),
        "{program} is not installed, and CI skips nothing"
    );
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not the macro, whose output is kept from the terminal.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED {test}: {program} is not installed");
    false
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The path of a plain user is often without them.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|file| file.is_file())
}

impl Peer {
    /// Starts a program, and waits until it takes connections.
    pub async fn start(
        program: &str,
        arguments: impl FnOnce(&Place) -> Vec<String>,
        configure: impl FnOnce(&Place) -> String,
    ) -> Self {
        Self::start_on(program, 3, arguments, configure).await
    }

    /// The same for one that takes them on the first of the ports alone.
    pub async fn start_on(
        program: &str,
        ports: usize,
        arguments: impl FnOnce(&Place) -> Vec<String>,
        configure: impl FnOnce(&Place) -> String,
    ) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("trunkline-{program}-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let [plain, clear, tls] = free_ports();
        let place = Place { pem: dir.join("pem"), plain, clear, tls, dir };
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = certified.signing_key.serialize_pem();
        fs::write(place.dir.join("ca"), certified.cert.pem()).unwrap();
        fs::write(&place.pem, certified.cert.pem() + &key).unwrap();
        fs::write(place.dir.join("conf"), configure(&place) + "\n").unwrap();
        let mut command = vec![find(program).unwrap().display().to_string()];
        command.extend(arguments(&place));
        let mut peer = Self { keeper: None, command, dir: place.dir, ports, plain, clear, tls };
        peer.restart().await;
        peer
    }

    /// Starts it again after a [`stop`](Self::stop), where it was.
    pub async fn restart(&mut self) {
        let errors = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("stderr")).unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).args(&self.command);
        keeper.stdin(Stdio::piped()).stdout(errors.try_clone().unwrap()).stderr(errors);
        self.keeper = Some(keeper.spawn().unwrap());
        for port in [self.plain, self.clear, self.tls].into_iter().take(self.ports) {
            self.patiently("it takes connections", || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            })
            .await;
        }
    }

    /// Ends it at once, and waits until it is gone.
    pub async fn stop(&mut self) {
        let Some(mut keeper) = self.keeper.take() else { return };
        drop(keeper.stdin.take());
        tokio::task::spawn_blocking(move || keeper.wait().unwrap()).await.unwrap();
    }

    /// Signals it until it has heard, since one that has just started may not listen yet.
    pub async fn signal(&self, signal: &str, has_heard: impl Fn() -> bool) {
        let signalled = Cell::new(None::<Instant>);
        let heard = || {
            if has_heard() {
                return true;
            }
            if signalled.get().is_none_or(|at| at.elapsed() > Duration::from_millis(300)) {
                let mut input = self.keeper.as_ref().and_then(|keeper| keeper.stdin.as_ref()).unwrap();
                writeln!(input, "{signal}").unwrap();
                signalled.set(Some(Instant::now()));
            }
            false
        };
        self.patiently("it hears a signal", heard).await;
    }

    /// A file that the server writes.
    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    async fn patiently(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            let files = ["conf", "stderr", "error"].map(|name| self.file(name)).join("\n──\n");
            assert!(started.elapsed() < PATIENCE, "never: {what}\n{files}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn url(&self, front: Front) -> String {
        match front {
            Front::H1 => format!("http://127.0.0.1:{}", self.plain),
            Front::H2c => format!("http://127.0.0.1:{}", self.clear),
            Front::H1Tls | Front::H2 => format!("https://127.0.0.1:{}", self.tls),
        }
    }

    /// A client of this server, whose upstream is that one.
    pub fn site(&self, front: Front, upstream: &MockUpstream, options: Value) -> Site {
        let pool = match front {
            Front::H1 => json!({}),
            Front::H2c => json!({ "http2": "prior-knowledge" }),
            Front::H1Tls => json!({ "http2": "never", "tls": { "ca": self.file("ca") } }),
            Front::H2 => json!({ "tls": { "ca": self.file("ca") } }),
        };
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let client = client_of(&self.url(front), merge(json!({ "pool": pool }), options), &tasks);
        Site { upstream: upstream.clone(), client, tasks, asked: Arc::default() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "what the server wrote is in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// All different, since all are held at once.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [_; N] = std::array::from_fn(|_| {
        std::iter::repeat_with(|| fastrand::u16(PORTS))
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .unwrap()
    });
    held.map(|listener| listener.local_addr().unwrap().port())
}

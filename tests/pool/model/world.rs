//! The other side: origins whose connects, protocols and servers do as they are told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use trunkline::pool::{Http2, Kind, Protocol};

use super::ops::{Connects, GoawayLast, Knobs};
use crate::support::frames::{self, Peer};
use crate::support::{Net, Plan};

pub const SITES: [&str; 3] = ["http://a.test", "https://b.test", "https://c.test"];

#[derive(Clone)]
pub struct World(Arc<Mutex<Inner>>);

pub struct Inner {
    pub sites: [Site; 3],
    /// In the order of their opening: the first is the pool's connection 1.
    pub connections: Vec<Connection>,
    held: Vec<(usize, oneshot::Sender<bool>)>,
}

#[derive(Clone)]
pub struct Site {
    speaks: Protocol,
    /// None: nothing until it is told to.
    announces: Option<u32>,
    connects: Connects,
    /// A connect failed since the last one that did not.
    pub failed: bool,
    pub ever_failed: bool,
    /// Some connection was told that it takes no streams at all.
    pub ever_zero: bool,
}

pub struct Connection {
    pub site: usize,
    pub server: Server,
    /// What the server announced last, and what it had when all was quiet last.
    pub announced: Option<u32>,
    before: Option<u32>,
    /// It was not left in peace: its calls may fail.
    pub disturbed: bool,
    /// Opened since all was quiet last.
    pub is_new: bool,
}

pub enum Server {
    H1 {
        seen: Arc<AtomicUsize>,
        answered: usize,
        begun: bool,
        out: mpsc::UnboundedSender<Vec<u8>>,
        gone: Arc<AtomicBool>,
    },
    H2 {
        peer: Peer,
        running: BTreeSet<u32>,
        begun: BTreeSet<u32>,
        last: u32,
    },
    Gone,
}

impl World {
    pub fn new(knobs: &Knobs) -> Self {
        let secure = |h2| match knobs.http2 {
            Http2::Auto if h2 => Protocol::H2,
            Http2::Auto | Http2::Never => Protocol::H1,
            Http2::PriorKnowledge => Protocol::H2,
        };
        let site = |speaks| Site {
            speaks,
            announces: Some(3),
            connects: Connects::Succeed,
            failed: false,
            ever_failed: false,
            ever_zero: false,
        };
        Self(Arc::new(Mutex::new(Inner {
            sites: [site(secure(false)), site(secure(true)), site(secure(false))],
            connections: Vec::new(),
            held: Vec::new(),
        })))
    }

    pub fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn net(&self) -> Net {
        let world = self.clone();
        Net::new(move |origin, _| {
            let name = origin.to_string();
            let site = SITES.iter().position(|site| *site == name).unwrap();
            world.plan(site)
        })
    }

    fn plan(&self, site: usize) -> Plan {
        let connects = self.lock().sites[site].connects;
        let outcome = async move |world: Self, well| match well {
            true => world.opens(site),
            false => world.fails(site),
        };
        match connects {
            Connects::Succeed => self.opens(site),
            Connects::Fail => self.fails(site),
            Connects::Take(millis) => {
                let given_up = GivenUp(self.clone(), site);
                Plan::Later(Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    outcome(given_up.came_to_an_end(), true).await
                }))
            }
            Connects::Hold => {
                let (end, told) = oneshot::channel();
                self.lock().held.push((site, end));
                let given_up = GivenUp(self.clone(), site);
                Plan::Later(Box::pin(async move {
                    let well = told.await.unwrap_or(false);
                    outcome(given_up.came_to_an_end(), well).await
                }))
            }
        }
    }

    fn fails(&self, site: usize) -> Plan {
        self.lock().failed(site);
        Plan::Fail(Kind::Connect)
    }

    fn opens(&self, site: usize) -> Plan {
        let world = self.clone();
        let protocol = self.lock().sites[site].speaks;
        Plan::Raw(protocol, Box::new(move |end| world.opened(site, protocol, end)))
    }

    fn opened(&self, site: usize, protocol: Protocol, end: DuplexStream) {
        let mut inner = self.lock();
        let announced = inner.sites[site].announces.filter(|_| protocol == Protocol::H2);
        inner.sites[site].failed = announced == Some(0);
        inner.sites[site].ever_failed |= announced == Some(0);
        inner.sites[site].ever_zero |= announced == Some(0);
        let server = match protocol {
            Protocol::H1 => h1(end),
            Protocol::H2 => {
                let peer = Peer::start(end);
                if announced.is_some() {
                    peer.settings(announced);
                }
                Server::H2 { peer, running: BTreeSet::new(), begun: BTreeSet::new(), last: 0 }
            }
        };
        inner.connections.push(Connection {
            site,
            server,
            announced,
            before: None,
            disturbed: false,
            is_new: true,
        });
    }
}

/// A connect that the pool drops has failed, to its mind.
struct GivenUp(World, usize);

impl GivenUp {
    fn came_to_an_end(self) -> World {
        let world = self.0.clone();
        std::mem::forget(self);
        world
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.lock().failed(self.1);
    }
}

/// A server that says what it is told to, and counts the requests that it gets.
fn h1(end: DuplexStream) -> Server {
    const BODY: usize = "question".len();
    let seen = Arc::new(AtomicUsize::new(0));
    let gone = Arc::new(AtomicBool::new(false));
    let (out, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    let server = Server::H1 { seen: seen.clone(), answered: 0, begun: false, out, gone: gone.clone() };
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(end);
        let reading = async {
            let mut unread = Vec::new();
            while read.read_buf(&mut unread).await.is_ok_and(|count| count > 0) {
                let head = unread.windows(4).position(|end| end == b"\r\n\r\n");
                if let Some(head) = head.filter(|head| unread.len() >= head + 4 + BODY) {
                    unread.drain(..head + 4 + BODY);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let writing = async {
            while let Some(bytes) = outgoing.recv().await {
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! { () = reading => {}, () = writing => {} }
        gone.store(true, Ordering::Relaxed);
    });
    server
}

impl Site {
    /// Whether the pool may think that it takes no connections. One that takes no streams is known as such when it comes to rest.
    pub fn may_back_off(&self) -> bool {
        self.failed || self.ever_zero
    }
}

impl Connection {
    /// How many streams the server takes. Until it has said its limit nobody knows it.
    pub fn limit(&self) -> usize {
        let limit = self.before.zip(self.announced).map(|(before, now)| before.max(now));
        limit.map_or(usize::MAX, |limit| limit as usize)
    }
}

impl Inner {
    pub fn failed(&mut self, site: usize) {
        self.sites[site].failed = true;
        self.sites[site].ever_failed = true;
    }

    pub fn set_speaks(&mut self, site: usize, h2: bool, http2: Http2) {
        if site > 0 && http2 == Http2::Auto {
            self.sites[site].speaks = if h2 { Protocol::H2 } else { Protocol::H1 };
        }
    }

    pub fn set_announces(&mut self, site: usize, streams: Option<u32>) {
        self.sites[site].announces = streams;
    }

    pub fn set_connects(&mut self, site: usize, connects: Connects) {
        self.sites[site].connects = connects;
    }

    pub fn land(&mut self, at: usize, well: bool) {
        self.held.retain(|(_, end)| !end.is_closed());
        if !self.held.is_empty() {
            let at = at % self.held.len();
            let _ = self.held.remove(at).1.send(well);
        }
    }

    pub fn held(&self) -> usize {
        self.held.iter().filter(|(_, end)| !end.is_closed()).count()
    }

    /// Takes note of what came in.
    pub fn read(&mut self) {
        for connection in &mut self.connections {
            let is_gone = match &mut connection.server {
                Server::H1 { gone, .. } => gone.load(Ordering::Relaxed),
                Server::H2 { peer, running, begun, last } => loop {
                    match peer.frames.try_recv() {
                        Ok(frame) if frame.kind == frames::HEADERS => {
                            running.insert(frame.stream);
                            *last = frame.stream;
                        }
                        Ok(frame) if frame.kind == frames::RST_STREAM => {
                            running.remove(&frame.stream);
                            begun.remove(&frame.stream);
                        }
                        Ok(_) => {}
                        Err(mpsc::error::TryRecvError::Empty) => break false,
                        Err(mpsc::error::TryRecvError::Disconnected) => break true,
                    }
                },
                Server::Gone => true,
            };
            if is_gone {
                connection.server = Server::Gone;
            }
        }
    }

    pub fn quiet(&mut self) {
        self.read();
        for connection in &mut self.connections {
            connection.is_new = false;
            connection.before = connection.announced;
        }
    }

    /// Connections that are still open here.
    pub fn live(&self) -> Vec<usize> {
        let open = |at: &usize| !matches!(self.connections[*at].server, Server::Gone);
        (0..self.connections.len()).filter(open).collect()
    }

    /// Each request that waits for its answer: the connection, and the stream.
    pub fn asked(&self) -> Vec<(usize, u32)> {
        let mut asked = Vec::new();
        for (at, connection) in self.connections.iter().enumerate() {
            match &connection.server {
                Server::H1 { seen, answered, .. } if seen.load(Ordering::Relaxed) > *answered => {
                    asked.push((at, 0))
                }
                Server::H2 { running, .. } => asked.extend(running.iter().map(|stream| (at, *stream))),
                _ => {}
            }
        }
        asked
    }

    pub fn head(&mut self, (at, stream): (usize, u32)) {
        match &mut self.connections[at].server {
            Server::H1 { out, begun, .. } if !*begun => {
                *begun = true;
                let _ = out.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no".to_vec());
            }
            Server::H2 { peer, begun, .. } => {
                let is_first = begun.insert(stream);
                if is_first {
                    peer.head(stream);
                    peer.data(stream, b"o");
                }
            }
            _ => {}
        }
    }

    pub fn answer(&mut self, (at, stream): (usize, u32), is_last: bool) {
        match &mut self.connections[at].server {
            Server::H1 { out, begun, answered, .. } => {
                *answered += 1;
                let whole: &[u8] = match is_last {
                    true => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                    false => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                };
                let _ = out.send(if std::mem::take(begun) { b"k".to_vec() } else { whole.to_vec() });
            }
            Server::H2 { peer, running, begun, .. } => {
                running.remove(&stream);
                match begun.remove(&stream) {
                    true => peer.end(stream),
                    false => peer.answer(stream),
                }
            }
            Server::Gone => {}
        }
    }

    pub fn refuse(&mut self, (at, stream): (usize, u32)) {
        let connection = &mut self.connections[at];
        if let Server::H2 { peer, running, begun, .. } = &mut connection.server {
            connection.disturbed = true;
            running.remove(&stream);
            begun.remove(&stream);
            peer.reset(stream, frames::REFUSED_STREAM);
        }
    }

    pub fn goaway(&mut self, at: usize, processed: GoawayLast) {
        let connection = &mut self.connections[at];
        let Server::H2 { peer, running, last, .. } = &mut connection.server else { return };
        connection.disturbed = true;
        match processed {
            GoawayLast::None => {
                running.clear();
                peer.goaway(0);
            }
            GoawayLast::All => peer.goaway(*last),
        }
        if connection.is_new {
            let site = connection.site;
            self.failed(site);
        }
    }

    pub fn settings(&mut self, at: usize, streams: u32) {
        let connection = &mut self.connections[at];
        let Server::H2 { peer, .. } = &connection.server else { return };
        peer.settings(Some(streams));
        connection.announced = Some(streams);
        if streams == 0 {
            let site = connection.site;
            self.failed(site);
            self.sites[site].ever_zero = true;
        }
    }

    pub fn hang_up(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.disturbed = true;
        // Its end of the pipe goes with its senders.
        connection.server = Server::Gone;
        if connection.is_new {
            let site = connection.site;
            self.failed(site);
        }
    }
}

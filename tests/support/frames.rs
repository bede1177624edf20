//! An HTTP/2 server made of frames by hand, for what no library's server can be brought to do.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use trunkline::pool::{Config, Pool, Protocol, Tasks};

use super::{Net, Plan};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const STATUS_200: u8 = 0x88;

/// Numbers of settings.
pub const MAX_STREAMS: u16 = 3;
pub const WINDOW: u16 = 4;

pub const NO_ERROR: u32 = 0;
pub const INTERNAL_ERROR: u32 = 2;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The server's end of one connection. Acknowledges SETTINGS and PING by itself.
pub struct Peer {
    pub frames: mpsc::UnboundedReceiver<Frame>,
    out: mpsc::UnboundedSender<Vec<u8>>,
}

/// A plan whose peer arrives on the channel, after it has announced these settings.
pub fn framed(peers: mpsc::UnboundedSender<Peer>, settings: Vec<(u16, u32)>) -> Plan {
    Plan::Raw(
        Protocol::H2,
        Box::new(move |end| {
            let peer = Peer::start(end);
            peer.set(&settings);
            let _ = peers.send(peer);
        }),
    )
}

/// A pool over peers made of frames, each of which announces `limit` first.
pub fn peers(limit: Option<u32>, settings: Config) -> (Pool, Arc<Net>, Tasks, mpsc::UnboundedReceiver<Peer>) {
    peers_that_say(limit.map(|limit| (MAX_STREAMS, limit)).into_iter().collect(), settings)
}

/// The same, with any first SETTINGS.
pub fn peers_that_say(
    first: Vec<(u16, u32)>,
    settings: Config,
) -> (Pool, Arc<Net>, Tasks, mpsc::UnboundedReceiver<Peer>) {
    let (arrived, peers) = mpsc::unbounded_channel();
    let (pool, net, tasks) = Net::new(move |_, _| framed(arrived.clone(), first.clone())).pool(settings);
    (pool, net, tasks, peers)
}

async fn run(
    end: DuplexStream,
    mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    out: mpsc::WeakUnboundedSender<Vec<u8>>,
    seen: mpsc::UnboundedSender<Frame>,
) {
    let (mut read, mut write) = tokio::io::split(end);
    let reading = async {
        let mut preface = [0; 24];
        read.read_exact(&mut preface).await?;
        loop {
            let mut head = [0; 9];
            read.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            read.read_exact(&mut payload).await?;
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            if let (SETTINGS | PING, 0, Some(out)) = (kind, flags & ACK, out.upgrade()) {
                let echo = if kind == PING { payload.clone() } else { Vec::new() };
                let _ = out.send(frame(kind, ACK, 0, &echo));
            }
            let _ = seen.send(Frame { kind, flags, stream, payload });
        }
        #[expect(unreachable_code, reason = "names the type of `?`")]
        Ok::<(), std::io::Error>(())
    };
    // Ends when the peer is dropped.
    let writing = async {
        while let Some(bytes) = outgoing.recv().await {
            write.write_all(&bytes).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! { _ = reading => {}, _ = writing => {} }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

impl Peer {
    /// A server that has said nothing yet.
    pub fn start(end: DuplexStream) -> Self {
        let (out, outgoing) = mpsc::unbounded_channel();
        let (seen, frames) = mpsc::unbounded_channel();
        tokio::spawn(run(end, outgoing, out.downgrade(), seen));
        Self { frames, out }
    }

    pub fn send(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(frame(kind, flags, stream, payload));
    }

    /// Bytes as they are. False once the connection has gone.
    pub fn write(&self, bytes: Vec<u8>) -> bool {
        self.out.send(bytes).is_ok()
    }

    pub fn settings(&self, max_concurrent_streams: Option<u32>) {
        self.set(max_concurrent_streams.map(|limit| (MAX_STREAMS, limit)).as_slice());
    }

    pub fn set(&self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (number, value) in settings {
            payload.extend(number.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload);
    }

    /// Room for so many bytes more, on a stream or, for 0, the connection.
    pub fn open_window(&self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    pub fn head(&self, stream: u32) {
        self.send(HEADERS, END_HEADERS, stream, &[STATUS_200]);
    }

    /// A head, and with it the end.
    pub fn answer(&self, stream: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200]);
    }

    pub fn data(&self, stream: u32, data: &[u8]) {
        self.send(DATA, 0, stream, data);
    }

    pub fn end(&self, stream: u32) {
        self.send(DATA, END_STREAM, stream, &[]);
    }

    pub fn reset(&self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    pub fn goaway(&self, last: u32) {
        self.goaway_because(last, NO_ERROR);
    }

    pub fn goaway_because(&self, last: u32, code: u32) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(code.to_be_bytes());
        self.send(GOAWAY, 0, 0, &payload);
    }

    /// The next frame of a kind.
    pub async fn next(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frames.recv().await.unwrap();
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The streams of the next so many requests.
    pub async fn requests(&mut self, count: usize) -> Vec<u32> {
        let mut streams = Vec::new();
        while streams.len() < count {
            streams.push(self.next(HEADERS).await.stream);
        }
        streams
    }

    /// The kinds of the frames that lie unread.
    pub fn unread(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.frames.try_recv().ok().map(|frame| frame.kind)).collect()
    }
}

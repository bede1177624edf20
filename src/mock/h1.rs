//! Speaks HTTP/1.1 on a connection. By hand and not by hyper, because here the server must be able to break
//! every rule: lie about lengths, stop in the middle of a chunk, close without a word.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use http::{StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until, timeout},
};

use super::{
    clock,
    damage::GARBAGE,
    h1_parse::{Body, Chunked, Head, MAX_BODY, MAX_HEAD, parse},
    head::overrides,
    options::millis,
    request::{HeadOf, Request},
    script::{self, End, Open, Script, Then},
    server::Connection,
    wire::Io,
};

/// Room for a read.
pub(super) const ROOM: usize = 16 * 1024;
/// Written at once at most.
const BATCH: usize = 64 * 1024;
/// Read ahead while an answer is on its way; beyond it a client that goes is noticed only when written to.
const AHEAD: usize = 64 * 1024;
/// Between the last byte and a reset: a reset overtakes bytes that the client has not read yet.
pub(super) const LINGER: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Speaker<'a> {
    io: Io,
    inbox: BytesMut,
    outbox: Vec<u8>,
    connection: &'a Connection,
    idle: Option<Duration>,
}

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    /// TLS and TCP are told.
    Goodbye,
    /// Dropped as it is.
    Gone,
}

pub(super) async fn serve(io: Io, inbox: BytesMut, connection: &Connection) -> io::Result<()> {
    let idle = connection.upstream.options.keep_alive_timeout.map(millis);
    let mut speaker = Speaker { io, inbox, outbox: Vec::with_capacity(2048), connection, idle };
    let mut left = connection.upstream.options.requests_per_connection;
    loop {
        let Some(head) = speaker.read_head().await? else {
            return speaker.io.shutdown().await;
        };
        let body = match speaker.read_body(&head).await {
            Ok(body) => body,
            Err(error) => return speaker.refuse(error).await,
        };
        left = left.map(|left| left.saturating_sub(1));
        let last = left == Some(0);
        let (script, used) = {
            let inbox = &speaker.inbox;
            let (bytes, used) = match &body {
                Body::Within(length) => (&inbox[head.length..head.length + length], head.length + length),
                Body::Decoded { bytes, used } => (bytes.as_slice(), *used),
            };
            let request = Request {
                method: text(inbox, &head.method),
                path: text(inbox, &head.path),
                head: HeadOf::H1(&inbox[..head.length]),
                body: bytes,
                connection: connection.number,
                stream: None,
            };
            (connection.upstream.answer(request).await, used)
        };
        speaker.inbox.advance(used);
        let next = speaker.perform(script, &head).await?;
        match next {
            Next::Request if last => return Ok(()),
            Next::Request if head.is_last => return speaker.io.part().await,
            Next::Request => {}
            Next::Goodbye => return speaker.io.part().await,
            Next::Gone => return Ok(()),
        }
    }
}

impl Speaker<'_> {
    /// The next head, or `None` when the client is gone, or has been idle for too long.
    async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if !self.inbox.is_empty() {
                match parse(&self.inbox) {
                    Ok(Some(head)) => return Ok(Some(head)),
                    Ok(None) if self.inbox.len() < MAX_HEAD => {}
                    Ok(None) => {
                        return self.refuse(io::Error::other("the head is too long")).await.map(|()| None);
                    }
                    Err(error) => return self.refuse(error).await.map(|()| None),
                }
            }
            let is_idle = self.inbox.is_empty();
            let read = match self.idle.filter(|_| is_idle) {
                None => self.read().await?,
                Some(idle) => match timeout(idle, self.read()).await {
                    Ok(read) => read?,
                    Err(_) => return Ok(None),
                },
            };
            if read == 0 {
                return Ok(None);
            }
        }
    }

    async fn read_body(&mut self, head: &Head) -> io::Result<Body> {
        if head.expects_continue {
            self.io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            self.io.flush().await?;
        }
        let Some(length) = head.body else {
            let mut chunked = Chunked::new(head.length);
            while !chunked.advance(&self.inbox)? {
                self.read_more().await?;
            }
            return Ok(chunked.into_body());
        };
        if length > MAX_BODY {
            return Err(io::Error::other("the body is too long"));
        }
        while self.inbox.len() < head.length + length {
            self.read_more().await?;
        }
        Ok(Body::Within(length))
    }

    async fn read(&mut self) -> io::Result<usize> {
        // Only when there is little: a body that comes in pieces must not be moved for each of them.
        if self.inbox.capacity() - self.inbox.len() < ROOM / 4 {
            self.inbox.reserve(ROOM);
        }
        self.io.read_buf(&mut self.inbox).await
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.read().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Turns away what is no HTTP.
    async fn refuse(&mut self, error: io::Error) -> io::Result<()> {
        if error.kind() != io::ErrorKind::Other {
            return Err(error);
        }
        let text = error.to_string();
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n";
        self.io.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await?;
        self.io.part().await
    }

    async fn perform(&mut self, script: Script, request: &Head) -> io::Result<Next> {
        match script.wait {
            Some(wait) if wait.is_zero() => {}
            Some(wait) => self.idle_until(clock::until(Instant::now() + wait)).await?,
            None => self.idle_until(std::future::pending()).await?,
        }
        let head = match &script.open {
            Open::Head(head) => head,
            Open::Reset => {
                self.connection.control.reset();
                return Ok(Next::Gone);
            }
            Open::Refuse => return Ok(Next::Gone),
            Open::Garbage => {
                self.outbox.extend_from_slice(GARBAGE);
                self.flush().await?;
                return Ok(Next::Gone);
            }
        };
        let bodiless =
            request.is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let chunked = head.length.is_none() && !bodiless && !request.is_http10;
        self.write_head(head, chunked, bodiless, script.then == Then::Leave);
        let start = Instant::now();
        for piece in script.pieces.iter().filter(|_| !bodiless) {
            if !piece.due.is_zero() && start + piece.due > Instant::now() {
                self.flush().await?;
                self.idle_until(sleep_until(start + piece.due)).await?;
            }
            if piece.bytes.is_empty() {
                // As a chunk it would be the last one.
                continue;
            }
            if chunked {
                let _ = write!(self.outbox, "{:x}\r\n", piece.bytes.len());
            }
            if piece.bytes.len() > BATCH {
                self.flush().await?;
                self.io.write_all(&piece.bytes).await?;
            } else {
                self.outbox.extend_from_slice(&piece.bytes);
            }
            if chunked {
                self.outbox.extend_from_slice(b"\r\n");
            }
            if self.outbox.len() > BATCH {
                self.flush().await?;
            }
        }
        if chunked && script.end == End::Proper {
            self.outbox.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush().await?;
        match (script.end, script.then) {
            (End::Proper, Then::Keep) => Ok(Next::Request),
            (End::Proper, Then::Leave) => Ok(Next::Goodbye),
            (End::Proper, Then::Close) | (End::Cut, _) => Ok(Next::Gone),
            (End::Reset, _) => {
                tokio::time::sleep(LINGER).await;
                self.connection.control.reset();
                Ok(Next::Gone)
            }
        }
    }

    fn write_head(&mut self, head: &script::Head, chunked: bool, bodiless: bool, is_last: bool) {
        let out = &mut self.outbox;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(head.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
        let mut field = |name: &str, value: &[u8]| {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
        };
        if !overrides(&head.headers, &header::CONTENT_TYPE) {
            field("content-type", head.content_type.as_bytes());
        }
        if let Some((name, id)) = head.id.as_ref().filter(|(name, _)| !overrides(&head.headers, name)) {
            field(name.as_str(), id.as_bytes());
        }
        for (name, value) in &head.headers.0 {
            field(name.as_str(), value.as_bytes());
        }
        if let Some(idle) = self.idle.filter(|idle| idle.as_secs() >= 1) {
            field("keep-alive", format!("timeout={}", idle.as_secs()).as_bytes());
        }
        if is_last {
            field("connection", b"close");
        }
        if chunked {
            field("transfer-encoding", b"chunked");
        } else if let Some(length) = head.length.filter(|_| head.status != StatusCode::NO_CONTENT) {
            if !overrides(&head.headers, &header::CONTENT_LENGTH) {
                let _ = write!(out, "\r\ncontent-length: {length}");
            }
        } else if !bodiless {
            field("connection", b"close");
        }
        out.extend_from_slice(b"\r\n\r\n");
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.io.write_all(&self.outbox).await?;
        self.outbox.clear();
        self.io.flush().await
    }

    /// Waits for something, unless the client goes.
    async fn idle_until(&mut self, reached: impl Future<Output = ()>) -> io::Result<()> {
        tokio::pin!(reached);
        while self.inbox.len() < AHEAD {
            tokio::select! {
                biased;
                () = &mut reached => return Ok(()),
                read = self.read_more() => read?,
            }
        }
        reached.await;
        Ok(())
    }
}

fn text<'a>(inbox: &'a [u8], range: &std::ops::Range<usize>) -> &'a str {
    inbox.get(range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

//! Accepts connections and finds out what they speak.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use bytes::BytesMut;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    delay, h1, h2,
    options::millis,
    upstream::Upstream,
    wire::{Control, Io, Wire},
};

/// A cold burst must not meet a full backlog, which costs its clients a second.
const BACKLOG: i32 = 4096;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One connection, to whoever serves it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) upstream: Arc<Upstream>,
    pub(super) control: Arc<Control>,
    /// From 1.
    pub(super) number: u64,
}

/// Counts a connection as closed when it is dropped, however that comes.
struct Counted(Arc<Upstream>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts.closed.fetch_add(1, Relaxed);
    }
}

/// The runtime of all mocks of the process: one thread, so that a benchmark knows what the upstream takes.
pub(super) fn runtime() -> io::Result<&'static Handle> {
    static RUNTIME: OnceLock<io::Result<Handle>> = OnceLock::new();
    let start = || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let run = move || runtime.block_on(std::future::pending::<()>());
        thread::Builder::new().name("trunkline-mock".to_owned()).spawn(run)?;
        Ok(handle)
    };
    RUNTIME.get_or_init(start).as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

pub(super) fn bind(port: u16) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // On Windows this would let two listeners have one port; elsewhere it lets a restart have it again.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until told to stop; then every connection ends at once, and `_stopped` is dropped.
pub(super) async fn accept(
    listener: TcpListener,
    upstream: Arc<Upstream>,
    tls: Option<TlsAcceptor>,
    mut stop: watch::Receiver<bool>,
    _stopped: watch::Sender<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // An error says that the last handle is gone.
            _ = stop.changed() => break,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file descriptors, most likely: let some connections end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = upstream.counts.opened.fetch_add(1, Relaxed) + 1;
        let counted = Counted(upstream.clone());
        if upstream.faults.lock().take_for_connection() {
            let _ = socket.set_zero_linger();
            drop(socket);
            continue;
        }
        let connection = Connection { upstream: upstream.clone(), control: Arc::default(), number };
        let tls = tls.clone();
        connections.spawn(async move {
            // Moved in whole, and dropped last: what is counted as closed is closed.
            let _counted = counted;
            connect(socket, tls, connection).await;
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connect(socket: TcpStream, tls: Option<TlsAcceptor>, connection: Connection) {
    let _ = socket.set_nodelay(true);
    let round_trip = millis(connection.upstream.options.round_trip);
    if round_trip.is_zero() {
        let wire = Wire::near(socket, connection.control.clone());
        // An error here is the end of this connection, and nobody else's business.
        let _ = serve(wire, tls, &connection).await;
        return;
    }
    let (near, far) = tokio::io::duplex(delay::PIPE);
    // A set of one: dropped with this connection, it ends the relay as well.
    let mut relay = JoinSet::new();
    relay.spawn(delay::relay(socket, far, round_trip, connection.control.clone()));
    let wire = Wire::far(near, connection.control.clone());
    let _ = serve(wire, tls, &connection).await;
    relay.join_next().await;
}

async fn serve(wire: Wire, tls: Option<TlsAcceptor>, connection: &Connection) -> io::Result<()> {
    let Some(tls) = tls else {
        let mut io = Io::Plain(wire);
        let early = match connection.upstream.options.http2 {
            true => read_preface(&mut io).await?,
            false => BytesMut::new(),
        };
        return match early.starts_with(PREFACE) {
            true => h2::serve(io, early.freeze(), connection).await,
            false => h1::serve(io, early, connection).await,
        };
    };
    let stream = tls.accept(wire).await?;
    let session = stream.get_ref().1;
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        connection.upstream.counts.resumed.fetch_add(1, Relaxed);
    }
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let io = Io::Tls(Box::new(stream));
    match is_h2 {
        true => h2::serve(io, bytes::Bytes::new(), connection).await,
        false => h1::serve(io, BytesMut::new(), connection).await,
    }
}

/// Reads until it is clear whether the client opens with HTTP/2's preface.
async fn read_preface(io: &mut Io) -> io::Result<BytesMut> {
    let mut early = BytesMut::with_capacity(h1::ROOM);
    loop {
        let seen = early.len().min(PREFACE.len());
        if seen == PREFACE.len() || early[..seen] != PREFACE[..seen] {
            return Ok(early);
        }
        if io.read_buf(&mut early).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

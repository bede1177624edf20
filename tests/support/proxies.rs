//! Proxies on loopback, by hand, so that they can be bad ones. Whatever they are asked for, they lead to one upstream.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What an HTTP proxy does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Http {
    /// Answers with this, and then tunnels.
    Tunnel(&'static str),
    /// The same, but what the upstream says first comes in one piece with the answer.
    Early(&'static str),
    /// Answers with this, then waits for the client to go.
    Answer(&'static str),
    /// Answers with this, and closes.
    Close(&'static str),
    /// A head without an end, of up to this many bytes.
    Endless(usize),
}

/// What a SOCKS proxy does.
#[derive(Clone, Copy, Debug)]
pub enum Socks {
    Tunnel,
    /// As for [`Http::Early`].
    Early,
    /// Asks for a user and a password, whatever was offered, and takes only this.
    Asks(&'static str, &'static str),
    /// Answers the request with this code.
    Refuses(u8),
    /// Says this at once, and closes.
    Says(&'static [u8]),
    /// Reads and says nothing.
    Silent,
}

/// A proxy, until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What a proxy saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Heads of requests; targets of SOCKS.
    pub asked: Vec<String>,
    /// User and password of SOCKS, with a colon between them.
    pub credentials: Vec<String>,
    /// What went to the upstream.
    pub sent: Vec<u8>,
    /// Client certificates.
    pub certificates: usize,
    /// Connections that are through, whatever came of them.
    pub ended: usize,
    /// Bytes of an endless head that were taken.
    pub taken: usize,
}

type Shared = Arc<Mutex<Seen>>;

impl Proxy {
    pub async fn http(how: Http, upstream: SocketAddr) -> Self {
        Self::start(move |socket, seen| async move { http(socket, how, upstream, &seen).await }).await
    }

    pub async fn https(how: Http, upstream: SocketAddr, tls: Arc<ServerConfig>) -> Self {
        Self::start(move |socket, seen| {
            let tls = TlsAcceptor::from(tls.clone());
            async move {
                let socket = tls.accept(socket).await?;
                let session = socket.get_ref().1;
                let certificates = session.peer_certificates().map_or(0, <[_]>::len);
                seen.lock().unwrap().certificates += certificates;
                assert_ne!(session.alpn_protocol(), Some(&b"h2"[..]), "CONNECT is HTTP/1.1 here");
                Box::pin(http(socket, how, upstream, &seen)).await
            }
        })
        .await
    }

    pub async fn socks(how: Socks, upstream: SocketAddr) -> Self {
        Self::start(move |socket, seen| async move { socks(socket, how, upstream, &seen).await }).await
    }

    async fn start<F>(serve: impl Fn(TcpStream, Shared) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Shared::default();
        let told = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (told, serving) = (told.clone(), serve(socket, told.clone()));
                tokio::spawn(async move {
                    let _ = serving.await;
                    told.lock().unwrap().ended += 1;
                });
            }
        });
        Self { address, seen, task }
    }

    pub fn url(&self, scheme_and_user: &str) -> String {
        format!("{scheme_and_user}{}", self.address)
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn http<S>(mut socket: S, how: Http, upstream: SocketAddr, seen: &Shared) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    seen.lock().unwrap().asked.push(String::from_utf8(head).unwrap());
    match how {
        Http::Tunnel(answer) => {
            socket.write_all(answer.as_bytes()).await?;
            relay(socket, TcpStream::connect(upstream).await?, seen).await
        }
        Http::Early(answer) => early(socket, answer.as_bytes(), upstream, seen).await,
        Http::Answer(answer) => {
            socket.write_all(answer.as_bytes()).await?;
            until_gone(socket).await
        }
        Http::Close(answer) => socket.write_all(answer.as_bytes()).await,
        Http::Endless(bytes) => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            let piece = [b'x'; 8192];
            while seen.lock().unwrap().taken < bytes {
                socket.write_all(&piece).await?;
                seen.lock().unwrap().taken += piece.len();
            }
            until_gone(socket).await
        }
    }
}

async fn socks(mut socket: TcpStream, how: Socks, upstream: SocketAddr, seen: &Shared) -> io::Result<()> {
    if let Socks::Says(text) = how {
        return socket.write_all(text).await;
    }
    if let Socks::Silent = how {
        return until_gone(socket).await;
    }
    assert_eq!(socket.read_u8().await?, 5);
    let mut methods = vec![0; socket.read_u8().await?.into()];
    socket.read_exact(&mut methods).await?;
    if let Socks::Asks(user, password) = how {
        if !methods.contains(&2) {
            return socket.write_all(&[5, 0xff]).await;
        }
        socket.write_all(&[5, 2]).await?;
        assert_eq!(socket.read_u8().await?, 1);
        let given = format!("{}:{}", text(&mut socket).await?, text(&mut socket).await?);
        let good = given == format!("{user}:{password}");
        seen.lock().unwrap().credentials.push(given);
        socket.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(());
        }
    } else {
        assert!(methods.contains(&0));
        socket.write_all(&[5, 0]).await?;
    }
    let mut request = [0; 4];
    socket.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(socket.read_u32().await?).to_string(),
        3 => text(&mut socket).await?,
        4 => format!("[{}]", std::net::Ipv6Addr::from(socket.read_u128().await?)),
        other => panic!("no kind of address: {other}"),
    };
    let port = socket.read_u16().await?;
    seen.lock().unwrap().asked.push(format!("{host}:{port}"));
    let done = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    match how {
        Socks::Refuses(code) => socket.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await,
        Socks::Early => early(socket, &done, upstream, seen).await,
        _ => {
            socket.write_all(&done).await?;
            relay(socket, TcpStream::connect(upstream).await?, seen).await
        }
    }
}

async fn text(socket: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; socket.read_u8().await?.into()];
    socket.read_exact(&mut text).await?;
    Ok(String::from_utf8(text).unwrap())
}

/// The answer, and what the upstream says unasked, in one write.
async fn early<S>(mut socket: S, answer: &[u8], upstream: SocketAddr, seen: &Shared) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut upstream = TcpStream::connect(upstream).await?;
    let mut both = answer.to_vec();
    upstream.read_buf(&mut both).await?;
    assert!(both.len() > answer.len());
    socket.write_all(&both).await?;
    relay(socket, upstream, seen).await
}

async fn relay<S>(socket: S, upstream: TcpStream, seen: &Shared) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = tokio::io::split(socket);
    let (mut from_upstream, mut to_upstream) = upstream.into_split();
    let there = async {
        let mut piece = [0; 4096];
        loop {
            let length = from_client.read(&mut piece).await?;
            if length == 0 {
                return to_upstream.shutdown().await;
            }
            seen.lock().unwrap().sent.extend_from_slice(&piece[..length]);
            to_upstream.write_all(&piece[..length]).await?;
        }
    };
    let back = async {
        tokio::io::copy(&mut from_upstream, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(there, back).map(|_| ())
}

async fn until_gone<S: AsyncRead + Unpin>(mut socket: S) -> io::Result<()> {
    let mut piece = [0; 4096];
    while socket.read(&mut piece).await? > 0 {}
    Ok(())
}

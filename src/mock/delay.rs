//! A wide area on loopback: everything that passes takes half a round trip, and a new connection costs a whole
//! one before anything is read, as the handshake of TCP would.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::TcpStream,
    sync::mpsc,
    time::Instant,
};

use super::{clock, wire::Control};

/// Of the pipe between a relay and the server.
pub(super) const PIPE: usize = 256 * 1024;
/// Read at once, and so on the way as one piece.
const PIECE: usize = 32 * 1024;
/// Pieces on the way in one direction: with `PIECE` the bound of what a connection holds.
const ON_THE_WAY: usize = 512;

/// Passes bytes between a client's socket and the server until the server has let go of its end and the last of
/// its bytes, or its reset, has arrived.
pub(super) async fn relay(
    mut client: TcpStream,
    server: DuplexStream,
    round_trip: Duration,
    control: Arc<Control>,
) {
    let half = round_trip / 2;
    let now = Instant::now();
    {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = tokio::io::split(server);
        let up = pass(from_client, to_server, half, now + round_trip, &control);
        let down = pass(from_server, to_client, half, now, &control);
        tokio::pin!(up, down);
        tokio::select! {
            // The server is gone: what the client still sends reaches nobody.
            _ = &mut down => {}
            ended = &mut up => {
                // An error says that the client has reset the connection, and nothing reaches it any more.
                if ended.is_ok() {
                    let _ = down.await;
                }
            }
        }
    }
    control.settle(&client);
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    half: Duration,
    not_before: Instant,
    control: &Control,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
    let take_in = async move {
        let mut room = BytesMut::new();
        loop {
            room.reserve(PIECE);
            from.read_buf(&mut room).await?;
            let piece = room.split().freeze();
            let at_end = piece.is_empty();
            let due = Instant::now().max(not_before) + half;
            if sender.send((due, piece)).await.is_err() || at_end {
                return io::Result::Ok(());
            }
        }
    };
    let give_out = async move {
        while let Some((due, piece)) = pieces.recv().await {
            clock::until(due).await;
            if piece.is_empty() && control.resets() {
                // An orderly end before the reset would take its place.
                return Ok(());
            }
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(take_in, give_out).map(drop)
}

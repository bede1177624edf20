//! The body of an answer, without its content codings.
//!
//! What is read of it is bounded by what its reader has room for, whatever the body unpacks to. A body that unpacks to more than
//! [`SUSPICIOUS`] bytes and to [`RATIO`] times what came is no answer but an attack, and fails.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http_body::Body as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, BufReader, ReadBuf};
use tokio_util::io::StreamReader;

use super::failure;
use crate::client::body::{Body, BodyError};
use crate::error::Error;
use crate::telemetry::Counters;

/// 64 MiB.
const SUSPICIOUS: u64 = 64 * 1024 * 1024;
const RATIO: u64 = 250;
/// More codings than anybody has a use for.
const MAX_CODINGS: usize = 5;
/// Windows of zstd up to 8 MiB, as RFC 9659 has it for HTTP.
const ZSTD_WINDOW: u32 = 23;
/// What is read at once.
const PIECE: usize = 16 * 1024;

/// The body of an answer as its reader wants it.
pub(super) enum Source {
    Plain(Frames),
    Coded { reader: Pin<Box<dyn AsyncRead + Send>>, came: Arc<AtomicU64>, made: u64, buffer: BytesMut },
}

#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Source {
    /// A body of these headers. A coding that nobody knows leaves it as it is, all of it: as undici has it.
    pub(super) fn of(body: Body, headers: &HeaderMap, counters: Arc<Counters>) -> Result<Self, Error> {
        let came = Arc::new(AtomicU64::new(0));
        let is_empty = body.is_end_stream();
        let mut frames = Frames { body, counters, came: came.clone(), may_hang_up: false };
        let codings = codings_of(headers)?;
        if codings.is_empty() || is_empty {
            return Ok(Self::Plain(frames));
        }
        frames.may_hang_up =
            ![CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| headers.contains_key(name));
        let mut reader: Pin<Box<dyn AsyncBufRead + Send>> = Box::pin(StreamReader::new(frames));
        // The last one was put on last.
        for coding in codings.into_iter().rev() {
            reader = Box::pin(BufReader::with_capacity(PIECE, decoder(coding, reader)));
        }
        Ok(Self::Coded { reader, came, made: 0, buffer: BytesMut::new() })
    }

    /// The next bytes; None at the end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let (reader, came, made, buffer) = match self {
            Self::Plain(frames) => {
                let next = frames.next().await.transpose();
                return next.map_err(failure::of_body);
            }
            Self::Coded { reader, came, made, buffer } => (reader, came, made, buffer),
        };
        buffer.reserve(PIECE);
        let read = reader.read_buf(buffer).await;
        let came = came.load(Ordering::Relaxed);
        match read {
            Ok(0) => return Ok(None),
            Ok(read) => *made += read as u64,
            // There was nothing to decode, and nothing broke below.
            Err(error) if came == 0 && below(&error).is_none() => return Ok(None),
            Err(error) => return Err(coding_failed(&error)),
        }
        if *made > SUSPICIOUS && *made / RATIO > came {
            return Err(failure::bad_coding(
                format!("the answer unpacks to more than {RATIO} times its size"),
                None,
            ));
        }
        Ok(Some(buffer.split().freeze()))
    }
}

fn codings_of(headers: &HeaderMap) -> Result<Vec<Coding>, Error> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    let names: Vec<&str> =
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > MAX_CODINGS {
        return Err(failure::bad_coding(
            format!("the answer has more than {MAX_CODINGS} content codings"),
            None,
        ));
    }
    let codings = names.iter().map(|name| match &*name.to_ascii_lowercase() {
        "gzip" | "x-gzip" => Some(Coding::Gzip),
        "deflate" => Some(Coding::Deflate),
        "br" => Some(Coding::Brotli),
        "zstd" => Some(Coding::Zstd),
        _ => None,
    });
    Ok(codings.collect::<Option<Vec<_>>>().unwrap_or_default())
}

fn decoder(coding: Coding, from: Pin<Box<dyn AsyncBufRead + Send>>) -> Pin<Box<dyn AsyncRead + Send>> {
    match coding {
        Coding::Gzip => {
            let mut gzip = GzipDecoder::new(from);
            gzip.multiple_members(true);
            Box::pin(gzip)
        }
        Coding::Deflate => Box::pin(Inflate::Unknown(Some(from))),
        Coding::Brotli => Box::pin(BrotliDecoder::new(from)),
        Coding::Zstd => {
            let mut zstd = ZstdDecoder::with_params(from, &[DParameter::window_log_max(ZSTD_WINDOW)]);
            zstd.multiple_members(true);
            Box::pin(zstd)
        }
    }
}

/// What broke in the connection below, if it was that.
fn below(error: &io::Error) -> Option<&BodyError> {
    error.get_ref()?.downcast_ref()
}

/// What broke: the connection below, or the coding.
fn coding_failed(error: &io::Error) -> Error {
    match below(error) {
        Some(BodyError::Pool(error)) => failure::of_pool(error),
        Some(BodyError::Cassette(error)) => error.clone(),
        None => {
            failure::bad_coding("the answer is not what its content-encoding says", Some(error.to_string()))
        }
    }
}

/// The bytes as they come.
pub(super) struct Frames {
    body: Body,
    counters: Arc<Counters>,
    came: Arc<AtomicU64>,
    /// Whether the peer may just hang up behind the last byte, without the goodbye of TLS. Many do; where nothing else ends the body,
    /// and a coding does not end it within, nobody could tell that from a body that is cut off.
    may_hang_up: bool,
}

impl Frames {
    /// What has not been read.
    pub(super) fn into_body(self) -> Body {
        self.body
    }

    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_bytes(cx)).await
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error))
                    if self.may_hang_up
                        && matches!(&error, BodyError::Pool(error) if error.is_without_goodbye())
                        && self.came.load(Ordering::Relaxed) > 0 =>
                {
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame,
            };
            // Trailers say nothing that fetch tells.
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            self.counters.received(data.len());
            self.came.fetch_add(data.len() as u64, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(data)));
        }
    }
}

impl Stream for Frames {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map_err(io::Error::other)))
    }
}

/// "deflate" is zlib's format by the book, and bare deflate by many servers: the first byte tells.
enum Inflate<R> {
    Unknown(Option<R>),
    Zlib(ZlibDecoder<R>),
    Bare(DeflateDecoder<R>),
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Inflate<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Unknown(from) = &mut *self {
            let Some(reader) = from.as_mut() else { return Poll::Ready(Ok(())) };
            let Some(&first) = ready!(Pin::new(reader).poll_fill_buf(cx))?.first() else {
                return Poll::Ready(Ok(()));
            };
            let Some(reader) = from.take() else { return Poll::Ready(Ok(())) };
            *self = match first & 0x0f {
                8 => Self::Zlib(ZlibDecoder::new(reader)),
                _ => Self::Bare(DeflateDecoder::new(reader)),
            };
        }
        match &mut *self {
            Self::Unknown(_) => Poll::Ready(Ok(())),
            Self::Zlib(zlib) => Pin::new(zlib).poll_read(cx, buffer),
            Self::Bare(bare) => Pin::new(bare).poll_read(cx, buffer),
        }
    }
}

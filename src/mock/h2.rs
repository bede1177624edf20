//! Speaks HTTP/2 on a connection: the h2 crate itself, without hyper, because a server that misbehaves has to
//! refuse and reset single streams for a reason of its choice.

use std::{
    future::{Future, poll_fn},
    io,
    sync::Arc,
    task::{Context, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::{
    Reason, RecvStream, SendStream,
    server::{self, SendResponse},
};
use http::{Response, header};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    clock,
    h1::LINGER,
    h1_parse::MAX_BODY,
    head::{is_about_connection, overrides},
    options::millis,
    request::{HeadOf, Request},
    script::{self, End, Open, Script, Then},
    server::Connection,
    upstream::Upstream,
    wire::{FrameIo, Io, Steering},
};

const STREAMS: u32 = 200;
/// Of a stream and of a connection: prompts are never held up.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024 * 1024;
/// Bytes that a stream may have waiting to be written.
const SEND_BUFFER: usize = 256 * 1024;
const ORDERS: usize = 16;

/// What a stream wants done with the whole connection.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// GOAWAY; streams that run are finished.
    Leave,
    /// Ended without a word.
    Close,
    Garbage,
}

pub(super) async fn serve(io: Io, early: Bytes, connection: &Connection) -> io::Result<()> {
    let options = &connection.upstream.options;
    let steering = Arc::<Steering>::default();
    let mut h2 = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(options.max_concurrent_streams.unwrap_or(STREAMS))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(FrameIo::new(io, early, steering.clone()))
        .await
        .map_err(io::Error::other)?;
    let (orders, mut ordered) = mpsc::channel(ORDERS);
    // Dropped with the connection, which ends them.
    let mut running = JoinSet::<()>::new();
    let idle = options.keep_alive_timeout.map(millis);
    let mut idle_since = Instant::now();
    let mut streams = 0;
    loop {
        tokio::select! {
            accepted = poll_fn(|cx| {
                // Each call writes what the request before it has been answered. As long as there are more
                // requests, their answers are gathered, and written together when there are none.
                steering.hold(true);
                let accepted = h2.poll_accept(cx);
                steering.hold(false);
                if accepted.is_pending() { h2.poll_accept(cx) } else { accepted }
            }) => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted.map_err(io::Error::other)?;
                streams += 1;
                let exchange = Exchange {
                    upstream: connection.upstream.clone(),
                    connection: connection.number,
                    stream: streams,
                    orders: orders.clone(),
                };
                let mut exchange = Box::pin(exchange.run(request, respond));
                // Most answers need no waiting; a task is only for those that do.
                if exchange.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    running.spawn(exchange);
                }
                if options.requests_per_connection.is_some_and(|most| streams >= u64::from(most)) {
                    h2.graceful_shutdown();
                }
                idle_since = Instant::now();
            }
            Some(order) = ordered.recv() => match order {
                Order::Leave => h2.graceful_shutdown(),
                Order::Close => return Ok(()),
                Order::Garbage => steering.make_noise(),
            },
            Some(_) = running.join_next() => idle_since = Instant::now(),
            () = sleep_until(idle_since + idle.unwrap_or_default()), if idle.is_some() && running.is_empty() => {
                h2.graceful_shutdown();
                // Said once; from here on the client ends it.
                idle_since += FAR;
            }
        }
    }
}

const FAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

struct Exchange {
    upstream: Arc<Upstream>,
    connection: u64,
    stream: u64,
    orders: mpsc::Sender<Order>,
}

impl Exchange {
    async fn run(self, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
        // An error here is this stream's end alone.
        let _ = self.try_run(request, respond).await;
    }

    async fn try_run(
        &self,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let script = self.upstream.answer(Request {
            method: head.method.as_str(),
            path,
            head: HeadOf::H2(&head.headers, head.uri.authority().map(|authority| authority.as_str())),
            body: &body,
            connection: self.connection,
            stream: Some(self.stream),
        });
        let script = script.await;
        let bodiless = head.method == http::Method::HEAD;
        self.perform(script, respond, bodiless).await
    }

    async fn perform(
        &self,
        script: Script,
        mut respond: SendResponse<Bytes>,
        bodiless: bool,
    ) -> Result<(), h2::Error> {
        if script.wait.is_none_or(|wait| !wait.is_zero()) {
            let moment = script.wait.map(|wait| Instant::now() + wait);
            tokio::select! {
                () = reach(moment) => {}
                _ = poll_fn(|cx| respond.poll_reset(cx)) => return Ok(()),
            }
        }
        let head = match &script.open {
            Open::Head(head) => head,
            Open::Reset => {
                respond.send_reset(Reason::CANCEL);
                return Ok(());
            }
            Open::Refuse => {
                respond.send_reset(Reason::REFUSED_STREAM);
                self.order(Order::Leave).await;
                return Ok(());
            }
            Open::Garbage => {
                self.order(Order::Garbage).await;
                // Dropped at once, the stream would be reset first.
                return std::future::pending().await;
            }
        };
        let pieces = if bodiless { &[][..] } else { &script.pieces[..] };
        let ends = script.end == End::Proper;
        let mut body = respond.send_response(response(head), pieces.is_empty() && ends)?;
        let start = Instant::now();
        for (at, piece) in pieces.iter().enumerate() {
            if !piece.due.is_zero() && start + piece.due > Instant::now() {
                tokio::select! {
                    () = sleep_until(start + piece.due) => {}
                    _ = poll_fn(|cx| body.poll_reset(cx)) => return Ok(()),
                }
            }
            write(&mut body, piece.bytes.clone(), ends && at + 1 == pieces.len()).await?;
        }
        if !ends {
            // A reset throws away what is not written yet.
            tokio::time::sleep(LINGER).await;
            body.send_reset(if script.end == End::Cut { Reason::INTERNAL_ERROR } else { Reason::CANCEL });
        }
        match script.then {
            Then::Keep => {}
            Then::Leave => self.order(Order::Leave).await,
            Then::Close => {
                tokio::time::sleep(LINGER).await;
                self.order(Order::Close).await;
            }
        }
        Ok(())
    }

    async fn order(&self, order: Order) {
        // The connection may be gone, and then there is nothing left to do to it.
        let _ = self.orders.send(order).await;
    }
}

async fn reach(moment: Option<Instant>) {
    match moment {
        Some(moment) => clock::until(moment).await,
        None => std::future::pending().await,
    }
}

async fn read(mut body: RecvStream) -> Result<Bytes, h2::Error> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if first.is_empty() && whole.is_empty() {
            // Most bodies are one frame, and need no copy.
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
        if whole.len() > MAX_BODY {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Writes as the client's windows allow.
async fn write(body: &mut SendStream<Bytes>, mut bytes: Bytes, ends: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let mut room = body.capacity();
        while room == 0 {
            room = match poll_fn(|cx| body.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Err(Reason::STREAM_CLOSED.into()),
            };
        }
        let part = bytes.split_to(room.min(bytes.len()));
        let is_last = bytes.is_empty();
        body.send_data(part, ends && is_last)?;
        if is_last {
            return Ok(());
        }
    }
    if ends { body.send_data(bytes, true) } else { Ok(()) }
}

fn response(head: &script::Head) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let fields = response.headers_mut();
    if !overrides(&head.headers, &header::CONTENT_TYPE) {
        fields.insert(header::CONTENT_TYPE, head.content_type.clone());
    }
    if let Some(length) = head.length {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some((name, id)) = head.id.clone() {
        fields.insert(name, id);
    }
    for (name, value) in head.headers.0.iter().filter(|(name, _)| !is_about_connection(name)) {
        fields.insert(name, value.clone());
    }
    response
}

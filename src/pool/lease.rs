//! A socket or a stream in use, and the response body that carries it to its end.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::{Instant, timeout};

use super::error::{is_no_http2, is_of_one_stream, is_refused, is_unprocessed};
use super::info::{Asked, Info, Riding};
use super::keep_alive::Hint;
use super::limit::LineId;
use super::sent::{Fate, RequestBody, SentBody};
use super::stats::CloseReason;
use super::supply::Arrival;
use super::{Error, Kind, Phases, Protocol, Shared};

/// How long a socket may take to be ready again after the end of a response. Longer means that the server has
/// answered without reading the request, and would never be.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// One socket (HTTP/1.1) or one stream (HTTP/2), to send one request on.
///
/// Dropped unused it goes back as it came. Dropped between request and end of the response, a stream is reset and
/// a socket closed, since what else would come on it belongs to that response.
pub struct Lease {
    shared: Arc<Shared>,
    held: Option<Held>,
    info: Arc<Info>,
    reused: bool,
    used: bool,
    waited: Duration,
    /// Since when the connection had rested, if it had, and for how long.
    resting_since: Option<Instant>,
    rested: Duration,
    /// Whether the server had not yet said how many streams it takes.
    untold: bool,
    /// Whether that is waited for.
    patient: bool,
    /// From the sending on.
    asked: Option<Asked>,
}

pub(super) enum Held {
    Socket(http1::SendRequest<SentBody>),
    Stream(http2::SendRequest<SentBody>, #[expect(dead_code, reason = "held for its drop")] Riding),
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, held: Held, info: Arc<Info>) -> Self {
        let reused = info.lease_again();
        Self {
            shared,
            held: Some(held),
            info,
            reused,
            used: false,
            waited: Duration::ZERO,
            resting_since: None,
            rested: Duration::ZERO,
            untold: false,
            patient: false,
            asked: None,
        }
    }

    /// The number of the connection, from 1, in the order of opening.
    pub fn connection_id(&self) -> u64 {
        self.info.id
    }

    pub fn protocol(&self) -> Protocol {
        self.info.protocol
    }

    /// Whether the connection was there already, rather than made for this lease.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// What the connection cost, if this lease is its first.
    pub fn phases(&self) -> Option<Phases> {
        (!self.reused).then_some(self.info.phases)
    }

    /// How long the checkout waited.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Sends a request and waits for the head of the response. The lease lives on in its body.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream or closes the socket.
    ///
    /// # Errors
    /// [`Kind::Unprocessed`], [`Kind::Refused`], [`Kind::NoResponse`], [`Kind::Protocol`].
    pub async fn send(mut self, request: Request<impl Into<RequestBody>>) -> Result<Response<Body>, Error> {
        self.used = true;
        self.asked = Some(Asked::new(&self.info));
        if self.reused {
            self.info.count_reuse();
            self.shared.stats.reused(&self.info);
        }
        let (head, body) = request.into_parts();
        let (body, fate) = SentBody::new(body.into());
        let body = if self.untold { body.in_two() } else { body };
        // What may be processed twice can be sent again whatever became of it.
        let is_safe = head.method.is_safe();
        // What leaves with its head cannot be called back, nor what comes in pieces once.
        if self.untold && (self.patient || !is_safe && !body.is_in_two()) {
            self.info.heard().await;
        }
        if self.untold && self.info.is_oversubscribed() {
            return Err(Error::new(Kind::Refused));
        }
        let is_conditional = matches!(head.method, Method::GET | Method::HEAD);
        let request = Request::from_parts(head, body);
        let sent = match &mut self.held {
            Some(Held::Socket(sender)) => {
                let sending = pin!(sender.try_send_request(request));
                answered(sending, closed_behind(|| sender.is_closed()), &self.info, &fate).await
            }
            Some(Held::Stream(sender, _)) => {
                let sending = pin!(self.info.in_turn(|| sender.try_send_request(request)));
                let mut sending =
                    pin!(answered(sending, closed_behind(|| sender.is_closed()), &self.info, &fate));
                if self.untold {
                    let sent = self.info.told.run_until_cancelled(sending.as_mut()).await;
                    match sent {
                        Some(sent) => sent,
                        // It would wait until another stream ends, unseen, in hyper or in h2.
                        None if self.info.is_oversubscribed() && (is_safe || fate.call_back()) => {
                            return Err(Error::new(Kind::Refused));
                        }
                        None => sending.await,
                    }
                } else {
                    sending.await
                }
            }
            None => return Err(Error::new(Kind::Closed)),
        };
        let Some(sent) = sent else {
            let taken = fate.is_taken();
            let kind = if taken { Kind::NoResponse { reused: self.reused } } else { Kind::Unprocessed };
            self.ended_by_peer(taken);
            return Err(Error::with(kind, "the connection has gone"));
        };
        match sent {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                self.info.count_answer();
                if self.protocol() == Protocol::H1 {
                    self.info.take_hint(Hint::of(&head.headers));
                    if is_followed(&head, is_conditional) {
                        self.held = None;
                        self.info.close_with(CloseReason::Error);
                        self.shared.discard(&self.info);
                    }
                }
                if head.status == StatusCode::MISDIRECTED_REQUEST {
                    self.misdirected();
                }
                let mut body = Body { incoming, lease: Some(self) };
                body.settle_if_ended();
                Ok(Response::from_parts(head, body))
            }
            Err(mut error) => {
                // hyper gives the message back only when it never took it.
                let unsent = error.take_message().is_some() || !fate.is_taken();
                let error = error.into_error();
                let kind = if is_refused(&error) && self.untold && self.info.is_oversubscribed() {
                    Kind::Refused
                } else if error.is_parse() || is_no_http2(&error) {
                    Kind::Protocol
                } else if unsent || is_unprocessed(&error) || is_refused(&error) {
                    Kind::Unprocessed
                } else {
                    // Streams that shared a new connection were no more likely to meet its end than the first of them. What ends a stream alone
                    // is no connection that was just being closed.
                    let has_served = self.protocol() == Protocol::H1 || self.info.answers() > 0;
                    Kind::NoResponse { reused: self.reused && has_served && !is_of_one_stream(&error) }
                };
                // What was given to one that had closed while it rested broke nothing off.
                self.fail(&error, !unsent || kind == Kind::Protocol);
                Err(Error::with(kind, error))
            }
        }
    }

    pub(super) fn line(&self) -> LineId {
        self.info.line
    }

    pub(super) fn set_waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    pub(super) fn set_rested(&mut self, since: Instant, now: Instant) {
        self.resting_since = Some(since);
        self.rested = now.saturating_duration_since(since);
    }

    /// `at_once`: what it is used for need not wait for that.
    pub(super) fn set_untold(&mut self, at_once: bool) {
        (self.untold, self.patient) = (true, !at_once);
    }

    pub(super) fn rested(&self) -> Duration {
        self.rested
    }

    /// What the driver saw when it was last polled.
    pub(super) fn lives(&self) -> bool {
        match &self.held {
            Some(Held::Socket(sender)) => sender.is_ready() && !sender.is_closed(),
            Some(Held::Stream(sender, _)) => !sender.is_closed(),
            None => false,
        }
    }

    /// The server has closed the connection: it is not put back.
    pub(super) fn give_up(mut self) {
        self.info.close_with(CloseReason::Server);
        match self.held.take() {
            Some(Held::Socket(_)) => self.shared.discard(&self.info),
            Some(Held::Stream(..)) => {
                self.shared.retire(&self.info);
                self.shared.release_stream(&self.info, None);
            }
            None => {}
        }
    }

    /// Takes the lease apart without giving anything back.
    pub(super) fn disarm(&mut self) -> Option<(Held, Arc<Info>)> {
        self.held.take().map(|held| (held, self.info.clone()))
    }

    /// 421: the connection is one on which the server does not answer for the origin (RFC 9110, section 15.5.20). It takes no more
    /// requests, so that none is sent on it again; those that others have on it run on.
    fn misdirected(&self) {
        match self.protocol() {
            Protocol::H1 => self.info.take_hint(Hint { is_last: true, ..Hint::default() }),
            Protocol::H2 => {
                self.info.close_with(CloseReason::Server);
                self.shared.retire(&self.info);
            }
        }
    }

    /// The socket is broken, or the stream, or its whole connection: what is broken serves nobody else. `midway`: something had begun.
    fn fail(&mut self, error: &hyper::Error, midway: bool) {
        match self.held.take() {
            Some(Held::Socket(_sender)) => {
                self.ended_by_peer(midway);
                self.shared.discard(&self.info);
            }
            Some(Held::Stream(..)) => {
                // The driver will know it too, but whoever repeats the request now may be faster.
                if !is_of_one_stream(error) {
                    self.ended_by_peer(midway);
                    self.shared.retire(&self.info);
                }
                self.shared.release_stream(&self.info, None);
            }
            None => {}
        }
    }

    /// The peer has closed the connection, or what it said there was no HTTP.
    fn ended_by_peer(&self, midway: bool) {
        match (self.protocol(), midway) {
            (Protocol::H1, true) => self.info.close_with(CloseReason::Error),
            (Protocol::H1, false) => self.info.close_with(CloseReason::Server),
            // Its driver knows whether it said goodbye.
            (Protocol::H2, true) => self.info.break_off(),
            (Protocol::H2, false) => {}
        }
    }

    /// The response has ended: the socket can serve again once its driver says so.
    fn finish(mut self) {
        match self.held.take() {
            Some(Held::Socket(sender)) if sender.is_ready() => {
                self.shared.put_socket(sender, self.info.clone(), Arrival::Back);
            }
            Some(Held::Socket(mut sender)) => {
                // The driver has yet to have its turn; only after that does `is_closed` mean anything.
                let (shared, info) = (self.shared.clone(), self.info.clone());
                self.shared.tasks.spawn("settle", async move {
                    match timeout(SETTLE_LIMIT, sender.ready()).await {
                        Ok(Ok(())) => shared.put_socket(sender, info, Arrival::Back),
                        _ => {
                            info.close_with(CloseReason::Server);
                            shared.discard(&info);
                        }
                    }
                });
            }
            Some(Held::Stream(..)) => self.shared.release_stream(&self.info, None),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.held.take() {
            Some(Held::Socket(sender)) if !self.used => {
                // It rests as if nobody had looked at it.
                let arrival = self.resting_since.map_or(Arrival::Back, Arrival::Unused);
                self.shared.put_socket(sender, self.info.clone(), arrival);
            }
            Some(Held::Socket(_sender)) => {
                self.info.close_with(CloseReason::Cancelled);
                self.shared.discard(&self.info);
            }
            Some(Held::Stream(..)) => {
                let unused = self.resting_since.filter(|_| !self.used);
                self.shared.release_stream(&self.info, unused);
            }
            None => {}
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("connection", &self.info.id)
            .field("protocol", &self.info.protocol)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

/// Whether a connection had closed by the time that a request lay in hyper's channel.
fn closed_behind(is_closed: impl FnOnce() -> bool) -> bool {
    // The request first, then the look: either we see that the driver goes, or it sees the request when it empties the channel; unless
    // that ends at a place before it which is taken, and not filled yet. So no two requests are put there at a time.
    fence(Ordering::SeqCst);
    is_closed()
}

/// A request that is put into hyper's channel in the moment in which its driver empties it for the last time can stay there, unseen,
/// for as long as anybody has a sender; and we have. So whoever may have come too late looks for the end of the connection as well.
///
/// Pinned by the caller, or each way of waiting for it would keep a place for the whole of it.
async fn answered<T>(
    mut sending: Pin<&mut impl Future<Output = T>>,
    may_be_late: bool,
    info: &Info,
    fate: &Fate,
) -> Option<T> {
    if !may_be_late {
        return Some(sending.await);
    }
    tokio::select! {
        biased;
        sent = &mut sending => return Some(sent),
        () = info.undriven.cancelled() => {}
    }
    if fate.is_taken() {
        // It may run on as long as the connection does; its end is told to it in a turn of its own.
        tokio::select! {
            biased;
            sent = &mut sending => return Some(sent),
            () = info.gone.cancelled() => {}
        }
    }
    timeout(SETTLE_LIMIT, sending).await.ok()
}

/// The body of a response. Its end gives the lease back; dropping it before resets the stream or closes the socket.
pub struct Body {
    incoming: Incoming,
    lease: Option<Lease>,
}

/// Whether a head tells of a body where there can be none. Whoever tells of it may send it, and the next answer would begin with it. A 304 may
/// say how long the body would be that it spares.
fn is_followed(head: &response::Parts, is_conditional: bool) -> bool {
    let is_bodiless = match head.status {
        StatusCode::NO_CONTENT => true,
        StatusCode::NOT_MODIFIED => !is_conditional,
        _ => false,
    };
    is_bodiless
        && (head.headers.contains_key(TRANSFER_ENCODING)
            || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0"))
}

impl Body {
    fn settle_if_ended(&mut self) {
        if http_body::Body::is_end_stream(&self.incoming)
            && let Some(lease) = self.lease.take()
        {
            lease.finish();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(lease), Some(data)) = (&self.lease, frame.data_ref()) {
                    lease.shared.stats.received(data.len());
                }
                self.settle_if_ended();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(mut lease) = self.lease.take() {
                    lease.fail(&error, true);
                }
                Poll::Ready(Some(Err(Error::with(Kind::Body, error))))
            }
            Poll::Ready(None) => match self.lease.take() {
                // hyper takes a reset with NO_ERROR for an end. It is one only where the response was whole before.
                Some(lease)
                    if lease.protocol() == Protocol::H2
                        && !http_body::Body::is_end_stream(&self.incoming) =>
                {
                    drop(lease);
                    Poll::Ready(Some(Err(Error::with(
                        Kind::Body,
                        "the server reset the stream before its end",
                    ))))
                }
                lease => {
                    if let Some(lease) = lease {
                        lease.finish();
                    }
                    Poll::Ready(None)
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.incoming)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("lease", &self.lease).finish_non_exhaustive()
    }
}

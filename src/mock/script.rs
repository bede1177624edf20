//! What is done on the wire for one request, step by step, whichever protocol speaks: an answer, its pace, and
//! the fault that it meets.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{
    answer::{Answer, Kind},
    damage::{break_json, break_utf8},
    faults::{LastStream, MockFault, ResetAfter},
    head::request_id,
    options::millis,
    refusal::Refusal,
    route::Protocol,
    shapes::Headers,
};

#[derive(Debug)]
pub(super) struct Script {
    /// Before anything is said; `None` is for ever.
    pub(super) wait: Option<Duration>,
    pub(super) open: Open,
    pub(super) pieces: Vec<Piece>,
    pub(super) end: End,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Open {
    Head(Head),
    /// The exchange is reset before its head.
    Reset,
    /// The request is turned away unprocessed.
    Refuse,
    /// Bytes that are no HTTP, and the end of the connection.
    Garbage,
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) content_type: HeaderValue,
    pub(super) headers: Headers,
    /// What `content-length` says; without it the body ends where it ends.
    pub(super) length: Option<u64>,
    /// The field that names the request, where the provider has one.
    pub(super) id: Option<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
pub(super) struct Piece {
    /// Not sooner than this long after the head.
    pub(super) due: Duration,
    pub(super) kind: Kind,
    pub(super) bytes: Bytes,
}

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Proper,
    Cut,
    Reset,
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Keep,
    /// Closed, and nobody was told.
    Close,
    /// Closed, and the client is told.
    Leave,
}

/// Time to the first token and between two.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    pub(super) first: Duration,
    /// Seconds.
    pub(super) each: f64,
}

/// What is known of an exchange beside its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Number of the request at this upstream.
    pub(super) request: u64,
    pub(super) protocol: Protocol,
    /// Before the head.
    pub(super) latency: Duration,
}

impl Script {
    pub(super) fn new(answer: Answer, told: Told, pace: Option<Pace>, fault: Option<MockFault>) -> Self {
        let answer = match &fault {
            Some(MockFault::Status { status, body, headers }) => {
                status_answer(status.0, body.as_ref(), headers, told)
            }
            _ => answer,
        };
        let pace = match fault {
            Some(MockFault::Slow { first_token, per_token }) => {
                Some(Pace { first: millis(first_token), each: millis(per_token).as_secs_f64() })
            }
            _ => pace,
        };
        let mut wait = told.latency;
        if let Some(pace) = pace.filter(|_| !answer.is_stream()) {
            wait += pace.first + seconds(pace.each, answer.body.tokens);
        }
        let total = || {
            (answer.body.bytes.len() + answer.tail.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()) as u64
        };
        let length = (!answer.is_stream()).then(total);
        let pieces = pieces(&answer, pace, fault.is_some());
        let Answer { status, content_type, headers, .. } = answer;
        let id = request_id(told.protocol, told.request);
        let head = Head { status, content_type, headers, length, id };
        let script =
            Self { wait: Some(wait), open: Open::Head(head), pieces, end: End::Proper, then: Then::Keep };
        match fault {
            Some(fault) => script.with(fault, told.protocol),
            None => script,
        }
    }

    fn with(mut self, fault: MockFault, protocol: Protocol) -> Self {
        match fault {
            MockFault::Status { .. } | MockFault::Slow { .. } => {}
            MockFault::Reset { after: ResetAfter::Accept | ResetAfter::Request } => self.open = Open::Reset,
            MockFault::Reset { after: ResetAfter::Headers } => {
                self.pieces.clear();
                self.end = End::Reset;
            }
            MockFault::Reset { after: ResetAfter::Tokens(tokens) } => {
                self.truncate(tokens);
                self.end = End::Reset;
            }
            MockFault::Silence { lasting } => {
                self.wait = self.wait.zip(lasting).map(|(wait, lasting)| wait + millis(lasting));
            }
            MockFault::Stall { after_tokens, lasting } => {
                let from = self.split_after(after_tokens);
                self.pieces.iter_mut().skip(from).for_each(|piece| piece.due += millis(lasting));
            }
            MockFault::Cut { after_tokens, clean } => {
                self.truncate(after_tokens);
                match clean {
                    true => self.measure(),
                    false => self.end = End::Cut,
                }
            }
            MockFault::Malformed { at_event } => {
                let at = (at_event.max(1) as usize - 1).min(self.pieces.len().saturating_sub(1));
                let at = if self.is_unary() { 0 } else { at };
                if let Some(piece) = self.pieces.get_mut(at) {
                    piece.bytes = break_json(&piece.bytes, piece.kind);
                }
                self.measure();
            }
            MockFault::NoDone {} => self.pieces.retain(|piece| piece.kind != Kind::Done),
            MockFault::ErrorInStream { after_tokens, body } => {
                let event = protocol.error_event(body.as_ref());
                if self.is_unary() {
                    let body = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
                    self.pieces =
                        vec![Piece { due: Duration::ZERO, kind: Kind::Whole, bytes: body.to_owned().into() }];
                    self.measure();
                } else {
                    self.truncate(after_tokens);
                    let due = self.pieces.last().map_or(Duration::ZERO, |piece| piece.due);
                    self.pieces.push(Piece { due, kind: Kind::Token, bytes: event.into() });
                }
            }
            MockFault::Goaway { last_stream: LastStream::Processed } => self.then = Then::Leave,
            MockFault::Goaway { last_stream: LastStream::Refused } => self.open = Open::Refuse,
            MockFault::CloseIdle {} => self.then = Then::Close,
            MockFault::WrongLength { by } => {
                let sent = self.sent();
                if let Open::Head(head) = &mut self.open {
                    head.length = Some(sent.saturating_add_signed(by));
                }
                if by > 0 {
                    self.end = End::Cut;
                }
            }
            MockFault::BadUtf8 {} => {
                let at = self.pieces.iter().position(|piece| piece.kind == Kind::Token).unwrap_or(0);
                if let Some(piece) = self.pieces.get_mut(at) {
                    piece.bytes = break_utf8(&piece.bytes);
                }
            }
            MockFault::Garbage {} => self.open = Open::Garbage,
        }
        self
    }

    fn is_unary(&self) -> bool {
        self.pieces.first().is_some_and(|piece| piece.kind == Kind::Whole)
    }

    fn sent(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes.len() as u64).sum()
    }

    /// Makes `content-length` true again, if there is one.
    fn measure(&mut self) {
        let sent = self.sent();
        if let Open::Head(Head { length: Some(length), .. }) = &mut self.open {
            *length = sent;
        }
    }

    fn truncate(&mut self, tokens: u32) {
        let at = self.split_after(tokens);
        self.pieces.truncate(at);
    }

    /// The place in the pieces after so many tokens; a unary body is split in the middle.
    fn split_after(&mut self, tokens: u32) -> usize {
        if self.is_unary() {
            let whole = self.pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect::<Vec<u8>>();
            let mut first = Bytes::from(whole);
            let second = first.split_off(first.len() / 2);
            self.pieces =
                [first, second].map(|bytes| Piece { due: Duration::ZERO, kind: Kind::Whole, bytes }).into();
            return 1;
        }
        let mut seen = 0;
        self.pieces
            .iter()
            .position(|piece| {
                seen += u32::from(piece.kind == Kind::Token);
                seen > tokens || matches!(piece.kind, Kind::Finish | Kind::Usage | Kind::Done)
            })
            .unwrap_or(self.pieces.len())
    }
}

/// The pieces of an answer: as few as can be when nothing cuts between them, or else one for each event.
fn pieces(answer: &Answer, pace: Option<Pace>, fault: bool) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(1 + answer.tail.len());
    let mut due = Duration::ZERO;
    match pace {
        _ if !answer.is_stream() => {
            pieces.push(Piece { due, kind: Kind::Whole, bytes: answer.body.bytes.clone() });
        }
        None if !fault => pieces.push(Piece { due, kind: Kind::Token, bytes: answer.body.bytes.clone() }),
        pace => {
            let pace = pace.unwrap_or_default();
            due = pace.first;
            let (mut start, mut tokens) = (0, 0);
            for &(end, kind) in &*answer.body.events {
                if kind == Kind::Token {
                    // From the beginning each time, so that a long stream does not drift.
                    due = pace.first + seconds(pace.each, tokens);
                    tokens += 1;
                }
                pieces.push(Piece { due, kind, bytes: answer.body.bytes.slice(start..end) });
                start = end;
            }
        }
    }
    pieces.extend(answer.tail.iter().map(|(kind, bytes)| Piece { due, kind: *kind, bytes: bytes.clone() }));
    pieces
}

fn seconds(each: f64, tokens: u64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "nobody waits for 2^52 tokens")]
    Duration::try_from_secs_f64(each * tokens as f64).unwrap_or_default()
}

fn status_answer(
    status: StatusCode,
    body: Option<&serde_json::Value>,
    headers: &Headers,
    told: Told,
) -> Answer {
    let mut answer = match body {
        None => told.protocol.refuse(&Refusal::Status(status), told.request),
        Some(serde_json::Value::String(text)) => Answer::json(status, text.clone()),
        Some(body) => Answer::json(status, body.to_string()),
    };
    answer.headers = headers.clone();
    answer
}

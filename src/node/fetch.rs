//! A client's fetch: bytes in, bytes out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use napi::Result;
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;

use super::border::{Flow, NativeBorder};
use super::client::NativeClient;
use super::mailbox::Letter;
use crate::client::{Drain, FetchBody, FetchRequest, Tell, Upload};

/// How long small pieces of a body may be gathered: as the deltas of a stream.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);

#[napi]
impl NativeClient {
    /// Starts a fetch. `head` is what [`FetchRequest::parse`] reads; the body is a text, bytes, or comes piece by piece as it is asked
    /// for. `flags`: as those of a call beside its kind. Returns the description of an error as JSON where it cannot be begun.
    #[napi(catch_unwind)]
    pub fn fetch(
        &self,
        id: u32,
        head: String,
        text: Option<String>,
        bytes: Option<Uint8ArraySlice<'_>>,
        in_pieces: bool,
        flags: u32,
    ) -> Result<Option<String>> {
        let mailbox = &self.border.mailbox;
        let upload = in_pieces.then(|| {
            Arc::new_cyclic(|this: &Weak<Upload>| {
                let (upload, mailbox) = (this.clone(), mailbox.clone());
                Upload::new(Box::new(move || mailbox.push(Letter::Ask { id, upload: upload.clone() })))
            })
        });
        let body = match (&upload, text, bytes) {
            (Some(upload), _, _) => FetchBody::Pieces(upload.clone()),
            (None, Some(text), _) => FetchBody::Whole(text.into()),
            (None, None, Some(bytes)) => FetchBody::Whole(Bytes::copy_from_slice(&bytes)),
            (None, None, None) => FetchBody::None,
        };
        let request = match FetchRequest::parse(&head, body) {
            Ok(request) => request,
            Err(error) => return Ok(Some(error.to_json())),
        };
        // The drain tells of its pieces and is told in the letter which it is: by a weak hand, or it would hold itself.
        let drain = Arc::new_cyclic(|this: &Weak<Drain>| {
            let (this, mailbox) = (this.clone(), mailbox.clone());
            Drain::new(Box::new(move |tell| match tell {
                Tell::Head(head) => mailbox.push(Letter::Head { id, head }),
                Tell::Pieces(urgent) => {
                    let Some(drain) = this.upgrade() else { return };
                    let letter = Letter::Bytes { id, drain };
                    if urgent { mailbox.push(letter) } else { mailbox.push_within(letter, FLUSH_INTERVAL) }
                }
            }))
        });
        let arrival = self.client.arrival(self.border.witness(id, flags));
        let (client, own) = (self.client.clone(), drain.clone());
        let call = move || client.fetch_arrived(request, own, arrival);
        self.border.start(id, Flow::Bytes(drain, upload), call)?;
        Ok(None)
    }
}

#[napi]
impl NativeBorder {
    /// The next piece of the body of a fetch's request; none is its end.
    #[napi(catch_unwind)]
    pub fn give(&self, id: u32, piece: Option<Uint8ArraySlice<'_>>) {
        if let Some(upload) = self.border.upload(id) {
            upload.give(piece.map(|piece| Bytes::copy_from_slice(&piece)));
        }
    }
}

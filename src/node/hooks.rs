//! Questions to JavaScript's hooks: by number, until they are answered.

use std::collections::BTreeMap;

use napi_derive::napi;
use parking_lot::Mutex;
use serde::Serialize;
use slab::Slab;
use zeroize::Zeroizing;

use super::border::NativeBorder;
use crate::client::Question;

/// Those that JavaScript has not answered.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Slab<Question>>);

impl Questions {
    pub(super) fn put(&self, question: Question) -> u32 {
        let mut questions = self.0.lock();
        // A hook may never come to an end; its attempt does, by its deadline.
        if questions.len() == questions.capacity() {
            questions.retain(|_, question| question.is_open());
        }
        questions.insert(question) as u32
    }

    fn take(&self, number: u32) -> Option<Question> {
        self.0.lock().try_remove(number as usize)
    }
}

/// A question as `lib/hooks.js` reads it.
pub(super) fn text_of(question: &Question) -> String {
    #[derive(Serialize)]
    struct Text<'a> {
        attempt: u32,
        provider: &'a str,
        model: &'a str,
        method: &'a str,
        url: &'a str,
        path: &'a str,
        headers: BTreeMap<&'a str, &'a str>,
    }
    let Question { attempt, provider, model, method, url, path, headers, .. } = question;
    let headers = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    // A type of strings and numbers always has a text.
    serde_json::to_string(&Text { attempt: *attempt, provider, model, method, url, path, headers })
        .unwrap_or_default()
}

#[napi]
impl NativeBorder {
    /// The body that an attempt is about to send, for a hook that was asked and has not answered.
    #[napi(catch_unwind)]
    pub fn hook_body(&self, question: u32) -> Option<String> {
        let questions = self.border.questions().0.lock();
        let body = &questions.get(question as usize)?.body;
        Some(String::from_utf8_lossy(body).into_owned())
    }

    /// A hook's answer: the headers as JSON, or why the attempt shall not be made.
    #[napi(catch_unwind)]
    pub fn answer_hook(&self, question: u32, headers: Option<String>, error: Option<String>) {
        let Some(question) = self.border.questions().take(question) else { return };
        // They may be credentials.
        let headers = headers.map(Zeroizing::new);
        question.answer(match (headers, error) {
            (Some(headers), None) => serde_json::from_str(&headers).map_err(|error| error.to_string()),
            (_, error) => Err(error.unwrap_or_default()),
        });
    }
}

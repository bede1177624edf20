//! JavaScript's functions and strings, by raw Node-API. What is unsafe in this crate is in here, in `wake` and in `uv`.
//!
//! The shape of a delivery: `deliver(count, more, ...texts)`, with four numbers for each letter in a `Uint32Array` that both
//! sides know: number, kind, a count, how many of the texts are its own. So hundreds of letters cost one call, and no
//! object is built property by property.

use std::ffi::c_char;
#[cfg(any(windows, not(target_env = "gnu")))]
use std::ffi::c_void;
use std::ptr;

use bytes::Bytes;
use napi::bindgen_prelude::{Function, Uint32Array};
use napi::{Env, Error, JsValue, Result, Status, sys};

/// What one delivery takes.
pub(super) const LETTERS: usize = 256;
/// Numbers for each letter.
pub(super) const WORDS: usize = 4;

/// The array of numbers that both sides know.
#[derive(Debug)]
pub(super) struct Words(*mut u32);

// SAFETY: written on JavaScript's thread only.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// `deliver` closes over the array, and whoever wakes has `deliver`: the memory stays while letters are
    /// delivered. JavaScript never detaches it.
    pub(super) fn of(array: &mut Uint32Array) -> Result<Self> {
        if array.len() < LETTERS * WORDS {
            return Err(Error::new(Status::InvalidArg, "words: too short"));
        }
        // SAFETY: JavaScript does not run while we hold the slice.
        Ok(Self(unsafe { array.as_mut() }.as_mut_ptr()))
    }

    fn set(&self, letter: usize, words: [u32; WORDS]) {
        debug_assert!(letter < LETTERS);
        // SAFETY: in bounds, since the length was checked and a delivery has at most LETTERS letters.
        unsafe { ptr::copy_nonoverlapping(words.as_ptr(), self.0.add(letter * WORDS), WORDS) };
    }
}

/// JavaScript's `deliver`, during one wake.
pub(super) struct Deliver {
    pub(super) env: sys::napi_env,
    pub(super) function: sys::napi_value,
}

/// One delivery in the making.
pub(super) struct Parcel<'a> {
    deliver: &'a Deliver,
    words: &'a Words,
    letters: usize,
    /// The first two are `count` and `more`.
    arguments: Vec<sys::napi_value>,
}

impl Deliver {
    /// The function as JavaScript passed it, for a turn that it asked for itself.
    pub(super) fn of(env: &Env, function: &Function<'_, (), ()>) -> Self {
        Self { env: env.raw(), function: function.raw() }
    }

    pub(super) fn parcel<'a>(&'a self, words: &'a Words) -> Parcel<'a> {
        Parcel { deliver: self, words, letters: 0, arguments: vec![ptr::null_mut(); 2] }
    }
}

impl Parcel<'_> {
    /// Whether there may be no room for another letter of a call, which is up to two: its last pieces and its end.
    pub(super) fn is_full(&self) -> bool {
        self.letters + 2 > LETTERS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters == 0
    }

    pub(super) fn add(&mut self, id: u32, kind: u32, count: u32, texts: &[&[u8]]) {
        for text in texts {
            let value = self.string(text);
            self.arguments.push(value);
        }
        self.words.set(self.letters, [id, kind, count, texts.len() as u32]);
        self.letters += 1;
    }

    /// The same, with bytes after the texts.
    pub(super) fn add_bytes(&mut self, id: u32, kind: u32, count: u32, texts: &[&[u8]], bytes: &[Bytes]) {
        self.add(id, kind, count, texts);
        let value = self.bytes(bytes);
        self.arguments.push(value);
        self.words.set(self.letters - 1, [id, kind, count, texts.len() as u32 + 1]);
    }

    /// Calls JavaScript. False where it threw, which Node reports.
    pub(super) fn send(mut self, more: bool) -> bool {
        let env = self.deliver.env;
        let (mut this, mut result) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: on JavaScript's thread, in the handle scope of the callback or call that we are in; the values were
        // made in it.
        unsafe {
            sys::napi_create_uint32(env, self.letters as u32, &mut self.arguments[0]);
            sys::napi_get_boolean(env, more, &mut self.arguments[1]);
            sys::napi_get_undefined(env, &mut this);
            sys::napi_call_function(
                env,
                this,
                self.deliver.function,
                self.arguments.len(),
                self.arguments.as_ptr(),
                &mut result,
            ) == sys::Status::napi_ok
        }
    }

    /// A text that is ASCII, as most are, is copied as Latin-1, which V8 need not decode.
    fn string(&self, text: &[u8]) -> sys::napi_value {
        let mut value = ptr::null_mut();
        let (env, start, length) =
            (self.deliver.env, text.as_ptr().cast::<c_char>(), text.len().cast_signed());
        // SAFETY: the pointer and the length are of a slice. A string too long for V8 fails, and stays undefined.
        unsafe {
            let status = if text.is_ascii() {
                sys::napi_create_string_latin1(env, start, length, &mut value)
            } else {
                sys::napi_create_string_utf8(env, start, length, &mut value)
            };
            if status != sys::Status::napi_ok {
                let mut pending = ptr::null_mut();
                sys::napi_get_and_clear_last_exception(env, &mut pending);
                sys::napi_get_undefined(env, &mut value);
            }
        }
        value
    }

    /// Bytes as an ArrayBuffer of V8's own, by one copy: external memory would cost a finalizer for each, which is more up to some
    /// 64 KiB, and V8's sandbox forbids it.
    fn bytes(&self, pieces: &[Bytes]) -> sys::napi_value {
        let mut value = ptr::null_mut();
        let mut start = ptr::null_mut();
        let length = pieces.iter().map(Bytes::len).sum();
        let env = self.deliver.env;
        // SAFETY: on JavaScript's thread. The memory has as many bytes as all pieces together, and nobody else has it yet. An array
        // too large for V8 fails, and stays undefined.
        unsafe {
            if sys::napi_create_arraybuffer(env, length, &mut start, &mut value) == sys::Status::napi_ok {
                let mut at = start.cast::<u8>();
                for piece in pieces {
                    ptr::copy_nonoverlapping(piece.as_ptr(), at, piece.len());
                    at = at.add(piece.len());
                }
            } else {
                let mut pending = ptr::null_mut();
                sys::napi_get_and_clear_last_exception(env, &mut pending);
                sys::napi_get_undefined(env, &mut value);
            }
        }
        value
    }
}

/// Runs `each` with a handle scope of its own, so that a long turn keeps no strings alive.
pub(super) fn scoped<T>(deliver: &Deliver, each: impl FnOnce() -> T) -> T {
    let mut scope = ptr::null_mut();
    // SAFETY: on JavaScript's thread; opened and closed in order.
    unsafe { sys::napi_open_handle_scope(deliver.env, &mut scope) };
    let result = each();
    // SAFETY: as above.
    unsafe { sys::napi_close_handle_scope(deliver.env, scope) };
    result
}

/// Keeps the library mapped for good: the runtime's threads run its code, and Node unloads an addon with the last
/// environment that loaded it. For glibc and the BSDs, napi-build links with `nodelete`.
pub(super) fn pin_library() {
    #[cfg(all(unix, not(target_env = "gnu")))]
    {
        // SAFETY: dladdr fills the structure for an address of this library; opening a library that is open only counts.
        unsafe {
            let mut info = std::mem::zeroed::<libc::Dl_info>();
            if libc::dladdr(pin_library as *const c_void, &mut info) != 0 {
                libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NODELETE);
            }
        }
    }
    #[cfg(windows)]
    {
        const FROM_ADDRESS: u32 = 4;
        const PIN: u32 = 1;
        #[link(name = "kernel32")]
        unsafe extern "system" {
            fn GetModuleHandleExW(flags: u32, address: *const c_void, module: *mut *mut c_void) -> i32;
        }
        let mut module = ptr::null_mut();
        // SAFETY: an address of this library, and a place for the answer.
        unsafe { GetModuleHandleExW(FROM_ADDRESS | PIN, pin_library as *const c_void, &mut module) };
    }
}

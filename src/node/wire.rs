//! JavaScript's functions and strings, by raw Node-API. What is unsafe in this crate is in here.
//!
//! The shape of a delivery: `deliver(count, more, ...texts)`, with four numbers for each letter in a `Uint32Array` that both
//! sides know: number, kind, a count, how many of the texts are its own. So hundreds of letters cost one call, and no
//! object is built property by property.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use napi::bindgen_prelude::{Function, JsObjectValue, Object, Uint32Array};
use napi::{Env, Error, JsValue, Result, Status, sys};

use super::border::Border;

/// What one delivery takes.
pub(super) const LETTERS: usize = 256;
/// Numbers for each letter.
pub(super) const WORDS: usize = 4;

/// Wakes JavaScript's thread, from any thread.
#[derive(Debug)]
pub(super) struct Waker(sys::napi_threadsafe_function);

// SAFETY: a thread-safe function may be called from any thread while it lives. It lives until its environment is torn down,
// and the mailbox drops its waker in the environment's cleanup hook, which runs before that; the mailbox's lock keeps a call
// from overlapping with the drop.
unsafe impl Send for Waker {}
// SAFETY: as above; Node guards the calls by a mutex of its own.
unsafe impl Sync for Waker {}

impl Waker {
    pub(super) fn wake(&self) {
        // SAFETY: alive, see above. The queue is unbounded, and a failure means that the environment closes.
        unsafe {
            sys::napi_call_threadsafe_function(
                self.0,
                ptr::null_mut(),
                sys::ThreadsafeFunctionCallMode::nonblocking,
            );
        }
    }
}

/// Whether JavaScript's event loop waits for the environment's calls, and `deliver` is held for them. Used on JavaScript's thread
/// only, where it was made.
#[derive(Debug)]
pub(super) struct KeepAlive {
    env: sys::napi_env,
    function: sys::napi_threadsafe_function,
    deliver: sys::napi_ref,
    slot: *mut Slot,
    alive: Arc<AtomicBool>,
}

// SAFETY: it is only used by functions that JavaScript calls, by the wake and by a finalizer, all on JavaScript's thread.
unsafe impl Send for KeepAlive {}
// SAFETY: as above.
unsafe impl Sync for KeepAlive {}

impl KeepAlive {
    /// Called with one and the other in turn, with true first.
    pub(super) fn set(&self, alive: bool) {
        self.alive.store(alive, Ordering::Relaxed);
        let mut count = 0;
        // SAFETY: on JavaScript's thread, whose environment lives while it calls us.
        unsafe {
            if alive {
                sys::napi_ref_threadsafe_function(self.env, self.function);
                sys::napi_reference_ref(self.env, self.deliver, &mut count);
            } else {
                sys::napi_unref_threadsafe_function(self.env, self.function);
                sys::napi_reference_unref(self.env, self.deliver, &mut count);
            }
        }
    }

    /// Undoes [`connect`] in an environment that lives on. Nothing may be used after it, and nobody wakes any more.
    pub(super) fn disconnect(&self) {
        // SAFETY: on JavaScript's thread, in a finalizer, and the environment has not begun to go: the hook is still there, the
        // reference not deleted, and the function alive. What it frees, the slot, is not used from here on.
        unsafe {
            sys::napi_remove_env_cleanup_hook(self.env, Some(environment_goes), self.slot.cast());
            sys::napi_delete_reference(self.env, self.deliver);
            sys::napi_release_threadsafe_function(self.function, sys::ThreadsafeFunctionReleaseMode::abort);
        }
    }
}

/// The array of numbers that both sides know.
#[derive(Debug)]
pub(super) struct Words(*mut u32);

// SAFETY: written on JavaScript's thread only.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// `deliver` closes over the array, and the thread-safe function over `deliver`: the memory stays while letters are
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

/// What the thread-safe function finds when it is woken.
#[derive(Debug)]
struct Slot {
    /// Weak while no call runs: Jest reads the package anew for each test file, and what was read for one must not be held for good.
    deliver: sys::napi_ref,
    /// Known only after the function it needs: filled before anything can wake.
    border: OnceLock<Arc<Border>>,
}

/// Makes the thread-safe function of an environment: woken, it calls [`Border::drain`]. `make` gets the two handles on it. It does not
/// keep the process alive.
pub(super) fn connect(
    env: &Env,
    deliver: &Function<'_, (), ()>,
    make: impl FnOnce(Waker, KeepAlive) -> Arc<Border>,
) -> Result<Arc<Border>> {
    let raw = env.raw();
    let alive = Arc::new(AtomicBool::new(false));
    let resource = resource(env, alive.clone())?;
    let mut reference = ptr::null_mut();
    // SAFETY: `raw` and `deliver` are of the running call.
    let status = unsafe { sys::napi_create_reference(raw, deliver.raw(), 0, &mut reference) };
    if status != sys::Status::napi_ok {
        return Err(Error::new(Status::from(status), "no reference"));
    }
    let slot = Box::into_raw(Box::new(Slot { deliver: reference, border: OnceLock::new() }));
    let mut function = ptr::null_mut();
    // SAFETY: `raw` and `resource` are of the running call; the name is a string made here; the slot outlives the function, since only
    // `finalize` frees it.
    let status = unsafe {
        let mut name = ptr::null_mut();
        sys::napi_create_string_utf8(raw, c"trunkline".as_ptr(), 9, &mut name);
        sys::napi_create_threadsafe_function(
            raw,
            ptr::null_mut(),
            resource.raw(),
            name,
            0,
            1,
            slot.cast(),
            Some(finalize),
            slot.cast(),
            Some(woken),
            &mut function,
        )
    };
    if status != sys::Status::napi_ok {
        // SAFETY: neither was given away.
        unsafe {
            sys::napi_delete_reference(raw, reference);
            drop(Box::from_raw(slot));
        }
        return Err(Error::new(Status::from(status), "no thread-safe function"));
    }
    let border = make(Waker(function), KeepAlive { env: raw, function, deliver: reference, slot, alive });
    // SAFETY: `finalize` runs on this thread, and not now.
    let _ = unsafe { &*slot }.border.set(border.clone());
    // SAFETY: the hook runs once, before the environment's own teardown of the function; `slot` is freed only by that, or after the hook
    // was removed.
    unsafe {
        sys::napi_unref_threadsafe_function(raw, function);
        sys::napi_add_env_cleanup_hook(raw, Some(environment_goes), slot.cast());
    }
    Ok(border)
}

/// What stands for the function in `async_hooks`: as a handle of Node's own does, it says by `hasRef()` whether the process waits for it.
/// It belongs to the environment, not to whoever reads the package, so that it holds nothing of theirs.
fn resource<'env>(env: &'env Env, alive: Arc<AtomicBool>) -> Result<Object<'env>> {
    let has_ref = env
        .create_function_from_closure::<(), bool, _>("hasRef", move |_| Ok(alive.load(Ordering::Relaxed)))?;
    let mut resource = Object::new(env)?;
    resource.set_named_property("hasRef", has_ref)?;
    Ok(resource)
}

unsafe extern "C" fn woken(env: sys::napi_env, _: sys::napi_value, slot: *mut c_void, _: *mut c_void) {
    // Node calls with null when the environment, or the function, is on its way out.
    if env.is_null() {
        return;
    }
    // SAFETY: the slot lives as long as the function.
    let slot = unsafe { &*slot.cast::<Slot>() };
    let mut function = ptr::null_mut();
    // SAFETY: on JavaScript's thread, in the callback's handle scope; the reference lives as long as the function.
    unsafe { sys::napi_get_reference_value(env, slot.deliver, &mut function) };
    // Collected: then nobody is left to hear of anything.
    if function.is_null() {
        return;
    }
    if let Some(border) = slot.border.get() {
        // A panic must not unwind into Node. The letters in hand are lost with it, which is a bug of ours by definition.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            border.drain(&Deliver { env, function });
        }));
    }
}

unsafe extern "C" fn environment_goes(slot: *mut c_void) {
    // SAFETY: see where the hook is added.
    if let Some(border) = unsafe { &*slot.cast::<Slot>() }.border.get() {
        border.close();
    }
}

unsafe extern "C" fn finalize(_: sys::napi_env, slot: *mut c_void, _: *mut c_void) {
    // SAFETY: made by `Box::into_raw`, and this runs once, after the last wake.
    drop(unsafe { Box::from_raw(slot.cast::<Slot>()) });
}

/// JavaScript's `deliver`, during one wake.
pub(super) struct Deliver {
    env: sys::napi_env,
    function: sys::napi_value,
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

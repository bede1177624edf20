//! The few functions of libuv that wake an event loop, by their names in the running program. Node has them for addons; what only
//! looks like Node may have others of these names, which is why nobody asks here without knowing that it is Node.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::LazyLock;

use napi::sys;

/// Any of libuv's handles: of a size that only libuv knows, and never moved.
#[repr(C)]
pub(super) struct Handle([u8; 0]);

pub(super) type Callback = unsafe extern "C" fn(*mut Handle);

/// In `uv_handle_type`, of all 1.x.
const ASYNC: c_int = 1;

#[derive(Debug)]
pub(super) struct Uv {
    /// The size of a `uv_async_t`.
    pub(super) async_size: usize,
    pub(super) async_init: unsafe extern "C" fn(*mut sys::uv_loop_s, *mut Handle, Callback) -> c_int,
    pub(super) async_send: unsafe extern "C" fn(*mut Handle) -> c_int,
    pub(super) close: unsafe extern "C" fn(*mut Handle, Callback),
    pub(super) hold: unsafe extern "C" fn(*mut Handle),
    pub(super) unhold: unsafe extern "C" fn(*mut Handle),
    pub(super) data: unsafe extern "C" fn(*const Handle) -> *mut c_void,
    pub(super) set_data: unsafe extern "C" fn(*mut Handle, *mut c_void),
}

static FOUND: LazyLock<Option<Uv>> = LazyLock::new(find);

/// None where the program has no libuv, or another than 1.x, whose functions and numbers stay as they are.
pub(super) fn found() -> Option<&'static Uv> {
    FOUND.as_ref()
}

fn find() -> Option<Uv> {
    // SAFETY: the types are those of libuv's headers, and have been since 1.19.
    unsafe {
        let version: unsafe extern "C" fn() -> c_uint = named(c"uv_version")?;
        if version() >> 16 != 1 {
            return None;
        }
        let size: unsafe extern "C" fn(c_int) -> usize = named(c"uv_handle_size")?;
        Some(Uv {
            async_size: size(ASYNC),
            async_init: named(c"uv_async_init")?,
            async_send: named(c"uv_async_send")?,
            close: named(c"uv_close")?,
            hold: named(c"uv_ref")?,
            unhold: named(c"uv_unref")?,
            data: named(c"uv_handle_get_data")?,
            set_data: named(c"uv_handle_set_data")?,
        })
    }
}

/// # Safety
/// `F` is a pointer to a function of the type that the one of this name has.
#[cfg(unix)]
unsafe fn named<F>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a name that ends in a zero; a symbol is as good a pointer as any, and of whose type the caller has seen to.
    unsafe {
        let symbol = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
        (!symbol.is_null()).then(|| std::mem::transmute_copy(&symbol))
    }
}

/// On Windows the lock of a thread-safe function is one that spins for a while, and the wake is another.
#[cfg(not(unix))]
unsafe fn named<F>(_: &CStr) -> Option<F> {
    None
}

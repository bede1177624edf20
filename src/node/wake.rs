//! How JavaScript's thread is woken from any other, and whether the process waits for that.
//!
//! In Node by a handle of libuv's: a thread-safe function of Node-API wakes the thread while it holds a lock that is the first thing
//! the thread then asks for. More often than not they meet there, and both threads go to sleep and are woken once more. Where there
//! is no libuv, or it is another's, by a thread-safe function.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use napi::bindgen_prelude::{Function, JsObjectValue, Object};
use napi::{Env, Error, JsValue, Result, Status, sys};

use super::border::Border;
use super::uv::{self, Uv};
use super::wire::Deliver;

/// What is rung.
#[derive(Clone, Copy, Debug)]
enum Bell {
    Uv(&'static Uv, *mut uv::Handle),
    Function(sys::napi_threadsafe_function),
}

/// Wakes JavaScript's thread, from any thread.
#[derive(Debug)]
pub(super) struct Waker(Bell);

// SAFETY: both kinds may be rung from any thread while they live. They live until their environment is torn down, and the mailbox
// drops its waker in the environment's cleanup hook, which runs before that; the mailbox's lock keeps a ring from overlapping with
// the drop.
unsafe impl Send for Waker {}
// SAFETY: as above; libuv guards the rings by atomics, Node by a mutex of its own.
unsafe impl Sync for Waker {}

impl Waker {
    pub(super) fn wake(&self) {
        // SAFETY: alive, see above. A queue is unbounded, and a failure means that the environment closes.
        unsafe {
            match self.0 {
                Bell::Uv(uv, handle) => {
                    (uv.async_send)(handle);
                }
                Bell::Function(function) => {
                    let how = sys::ThreadsafeFunctionCallMode::nonblocking;
                    sys::napi_call_threadsafe_function(function, ptr::null_mut(), how);
                }
            }
        }
    }
}

/// Whether JavaScript's event loop waits for the environment's calls, and `deliver` is held for them. Used on JavaScript's thread
/// only, where it was made.
#[derive(Debug)]
pub(super) struct KeepAlive {
    bell: Bell,
    slot: *mut Slot,
    env: sys::napi_env,
    deliver: sys::napi_ref,
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
                sys::napi_reference_ref(self.env, self.deliver, &mut count);
            } else {
                sys::napi_reference_unref(self.env, self.deliver, &mut count);
            }
            match (self.bell, alive) {
                (Bell::Uv(uv, handle), true) => (uv.hold)(handle),
                (Bell::Uv(uv, handle), false) => (uv.unhold)(handle),
                (Bell::Function(function), true) => {
                    sys::napi_ref_threadsafe_function(self.env, function);
                }
                (Bell::Function(function), false) => {
                    sys::napi_unref_threadsafe_function(self.env, function);
                }
            }
        }
    }

    /// Undoes [`connect`] in an environment that lives on. Nothing may be used after it, and nobody wakes any more.
    pub(super) fn disconnect(&self) {
        // SAFETY: on JavaScript's thread, in a finalizer, and the environment has not begun to go: the hook is still there, the
        // reference not deleted, and the bell alive. What they free, the slot, is not used from here on.
        unsafe {
            match self.bell {
                Bell::Uv(..) => close(&*self.slot),
                Bell::Function(function) => {
                    sys::napi_remove_env_cleanup_hook(self.env, Some(environment_goes), self.slot.cast());
                    sys::napi_delete_reference(self.env, self.deliver);
                    let how = sys::ThreadsafeFunctionReleaseMode::abort;
                    sys::napi_release_threadsafe_function(function, how);
                }
            }
        }
    }
}

/// What the one who is woken finds.
#[derive(Debug)]
struct Slot {
    env: sys::napi_env,
    /// Weak while no call runs: Jest reads the package anew for each test file, and what was read for one must not be held for good.
    deliver: sys::napi_ref,
    /// Known only after the bell it needs: filled before anything can wake.
    border: OnceLock<Arc<Border>>,
    /// None: the bell is a thread-safe function, which has all of it itself.
    uv: Option<UvSlot>,
}

#[derive(Debug)]
struct UvSlot {
    uv: &'static Uv,
    handle: *mut uv::Handle,
    /// The handle's, which is libuv's until that is through with it: a box of its own, aligned for whatever a handle has.
    memory: *mut [u128],
    /// What stands for the handle in `async_hooks`.
    resource: sys::napi_ref,
    context: sys::napi_async_context,
    /// Of the environment, which waits for the handle to be closed.
    hook: Cell<sys::napi_async_cleanup_hook_handle>,
    is_closing: Cell<bool>,
}

/// What wakes an environment, and then calls [`Border::drain`]. `make` gets the two handles on it. It does not keep the process alive.
/// `is_node`: whether the event loop is libuv's.
pub(super) fn connect(
    env: &Env,
    deliver: &Function<'_, (), ()>,
    is_node: bool,
    make: impl FnOnce(Waker, KeepAlive) -> Arc<Border>,
) -> Result<Arc<Border>> {
    let alive = Arc::new(AtomicBool::new(false));
    let resource = resource(env, alive.clone())?;
    let raw = env.raw();
    let mut deliver_ref = ptr::null_mut();
    // SAFETY: `raw` and `deliver` are of the running call.
    let status = unsafe { sys::napi_create_reference(raw, deliver.raw(), 0, &mut deliver_ref) };
    if status != sys::Status::napi_ok {
        return Err(Error::new(Status::from(status), "no reference"));
    }
    let slot = Slot { env: raw, deliver: deliver_ref, border: OnceLock::new(), uv: None };
    let slot = Box::into_raw(Box::new(slot));
    // SAFETY: `raw` and `resource` are of the running call, and nobody else has the slot.
    let bell = unsafe {
        match uv::found().filter(|_| is_node) {
            Some(uv) => uv_bell(raw, &resource, uv, slot),
            None => function_bell(raw, &resource, slot),
        }
    };
    let bell = bell.map_err(|status| {
        // SAFETY: neither was given away.
        unsafe {
            sys::napi_delete_reference(raw, deliver_ref);
            drop(Box::from_raw(slot));
        }
        Error::new(Status::from(status), "nothing to wake the event loop by")
    })?;
    let border = make(Waker(bell), KeepAlive { bell, slot, env: raw, deliver: deliver_ref, alive });
    // SAFETY: whatever frees the slot runs on this thread, and not now.
    let _ = unsafe { &*slot }.border.set(border.clone());
    Ok(border)
}

/// What stands for the bell in `async_hooks`: as a handle of Node's own does, it says by `hasRef()` whether the process waits for it.
/// It belongs to the environment, not to whoever reads the package, so that it holds nothing of theirs.
fn resource<'env>(env: &'env Env, alive: Arc<AtomicBool>) -> Result<Object<'env>> {
    let has_ref = env
        .create_function_from_closure::<(), bool, _>("hasRef", move |_| Ok(alive.load(Ordering::Relaxed)))?;
    let mut resource = Object::new(env)?;
    resource.set_named_property("hasRef", has_ref)?;
    Ok(resource)
}

/// Its name in `async_hooks`.
///
/// # Safety
/// `env` is of the running call.
unsafe fn name(env: sys::napi_env) -> sys::napi_value {
    let mut name = ptr::null_mut();
    // SAFETY: as above; the length is that of the text.
    unsafe { sys::napi_create_string_utf8(env, c"trunkline".as_ptr(), 9, &mut name) };
    name
}

/// # Safety
/// `env` and `resource` are of the running call. Once it went well, the slot is the bell's, which frees it.
unsafe fn uv_bell(
    env: sys::napi_env,
    resource: &Object<'_>,
    uv: &'static Uv,
    slot: *mut Slot,
) -> std::result::Result<Bell, sys::napi_status> {
    let (mut event_loop, mut held, mut context) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let memory = vec![0_u128; uv.async_size.div_ceil(size_of::<u128>())].into_boxed_slice();
    let memory = Box::into_raw(memory);
    let handle = memory.cast::<uv::Handle>();
    // SAFETY: see above. The handle's memory is as large as libuv asks for, stays where it is as long as the slot, and the slot is
    // freed when libuv is through with the handle. The hook is removed then, and so runs once at most, before that.
    unsafe {
        ok(sys::napi_get_uv_event_loop(env, &mut event_loop))?;
        ok(sys::napi_create_reference(env, resource.raw(), 1, &mut held))?;
        let made =
            ok(sys::napi_async_init(env, resource.raw(), name(env), &mut context)).and_then(|()| match (uv
                .async_init)(
                event_loop, handle, rung,
            ) {
                0 => Ok(()),
                _ => Err(sys::Status::napi_generic_failure),
            });
        if made.is_err() {
            if !context.is_null() {
                sys::napi_async_destroy(env, context);
            }
            if !held.is_null() {
                sys::napi_delete_reference(env, held);
            }
            drop(Box::from_raw(memory));
            return made.map(|()| Bell::Uv(uv, handle));
        }
        (uv.set_data)(handle, slot.cast());
        (uv.unhold)(handle);
        let (hook, is_closing) = (Cell::new(ptr::null_mut()), Cell::new(false));
        (*slot).uv = Some(UvSlot { uv, handle, memory, resource: held, context, hook, is_closing });
        let mut hook = ptr::null_mut();
        sys::napi_add_async_cleanup_hook(env, Some(environment_goes_with_uv), slot.cast(), &mut hook);
        if let Some(uv) = &(*slot).uv {
            uv.hook.set(hook);
        }
    }
    Ok(Bell::Uv(uv, handle))
}

/// # Safety
/// As [`uv_bell`].
unsafe fn function_bell(
    env: sys::napi_env,
    resource: &Object<'_>,
    slot: *mut Slot,
) -> std::result::Result<Bell, sys::napi_status> {
    let mut function = ptr::null_mut();
    // SAFETY: see above. The slot outlives the function, since only `finalize` frees it. The hook runs once, before the environment's
    // own teardown of the function; the slot is freed only by that, or after the hook was removed.
    unsafe {
        ok(sys::napi_create_threadsafe_function(
            env,
            ptr::null_mut(),
            resource.raw(),
            name(env),
            0,
            1,
            slot.cast(),
            Some(finalize),
            slot.cast(),
            Some(woken),
            &mut function,
        ))?;
        sys::napi_unref_threadsafe_function(env, function);
        sys::napi_add_env_cleanup_hook(env, Some(environment_goes), slot.cast());
    }
    Ok(Bell::Function(function))
}

fn ok(status: sys::napi_status) -> std::result::Result<(), sys::napi_status> {
    if status == sys::Status::napi_ok { Ok(()) } else { Err(status) }
}

/// Delivers what has come.
///
/// # Safety
/// On JavaScript's thread, in a handle scope of the environment's.
unsafe fn deliver(env: sys::napi_env, slot: &Slot) {
    let mut function = ptr::null_mut();
    // SAFETY: see above; the reference lives as long as the bell.
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

/// libuv calls, which knows nothing of JavaScript: what a thread-safe function would see to is seen to here.
unsafe extern "C" fn rung(handle: *mut uv::Handle) {
    let Some(uv) = uv::found() else { return };
    // SAFETY: on the loop's thread, which is JavaScript's, and libuv calls nobody whose handle is being closed. The slot lives as long as
    // the handle, which is gone in a later turn of the loop at the earliest. What is opened last is closed first; the microtasks run as
    // the scope of the callback is closed.
    unsafe {
        let slot = &*(uv.data)(handle).cast::<Slot>();
        let (Slot { env, uv: Some(UvSlot { context, .. }), .. }, mut handles, mut scope) =
            (slot, ptr::null_mut(), ptr::null_mut())
        else {
            return;
        };
        if ok(sys::napi_open_handle_scope(*env, &mut handles)).is_err() {
            return;
        }
        if ok(sys::napi_open_callback_scope(*env, ptr::null_mut(), *context, &mut scope)).is_ok() {
            deliver(*env, slot);
            report(*env);
            sys::napi_close_callback_scope(*env, scope);
        }
        sys::napi_close_handle_scope(*env, handles);
    }
}

/// Tells Node what JavaScript threw, if anything: an uncaught exception.
///
/// # Safety
/// On JavaScript's thread, in a handle scope of the environment's.
unsafe fn report(env: sys::napi_env) {
    let (mut is_pending, mut thrown) = (false, ptr::null_mut());
    // SAFETY: see above.
    unsafe {
        sys::napi_is_exception_pending(env, &mut is_pending);
        if is_pending && ok(sys::napi_get_and_clear_last_exception(env, &mut thrown)).is_ok() {
            sys::napi_fatal_exception(env, thrown);
        }
    }
}

unsafe extern "C" fn environment_goes_with_uv(_: sys::napi_async_cleanup_hook_handle, slot: *mut c_void) {
    // SAFETY: see where the hook is added.
    let slot = unsafe { &*slot.cast::<Slot>() };
    if let Some(border) = slot.border.get() {
        border.close();
    }
    // SAFETY: on JavaScript's thread, and the environment waits until the hook is removed.
    unsafe { close(slot) };
}

/// Closes a handle of libuv's, unless that has begun.
///
/// # Safety
/// On JavaScript's thread, while the environment lives. Nobody rings any more.
unsafe fn close(slot: &Slot) {
    let Some(uv) = &slot.uv else { return };
    if uv.is_closing.replace(true) {
        return;
    }
    // SAFETY: see above; each is done once.
    unsafe {
        sys::napi_delete_reference(slot.env, slot.deliver);
        sys::napi_delete_reference(slot.env, uv.resource);
        sys::napi_async_destroy(slot.env, uv.context);
        (uv.uv.close)(uv.handle, closed);
    }
}

unsafe extern "C" fn closed(handle: *mut uv::Handle) {
    let Some(uv) = uv::found() else { return };
    // SAFETY: libuv is through with the handle, and nobody else has the slot. The environment has waited for the hook if it is going.
    unsafe {
        let slot = Box::from_raw((uv.data)(handle).cast::<Slot>());
        if let Some(uv) = &slot.uv {
            drop(Box::from_raw(uv.memory));
            sys::napi_remove_async_cleanup_hook(uv.hook.get());
        }
    }
}

unsafe extern "C" fn woken(env: sys::napi_env, _: sys::napi_value, slot: *mut c_void, _: *mut c_void) {
    // Node calls with null when the environment, or the function, is on its way out.
    if !env.is_null() {
        // SAFETY: on JavaScript's thread, in the callback's handle scope; the slot lives as long as the function.
        unsafe { deliver(env, &*slot.cast::<Slot>()) };
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

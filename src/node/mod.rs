//! The border to JavaScript: the only code that names napi.
//!
//! | file | idea |
//! |---|---|
//! | `runtime` | the one tokio runtime of the process, and the library pinned under it |
//! | `mailbox` | how results of all calls of an environment reach JavaScript: many for one wake |
//! | `wire` | JavaScript's functions and strings, by raw Node-API |
//! | `wake` | how JavaScript's thread is woken, and kept from ending; with `wire` and `uv` the only `unsafe` code there is |
//! | `uv` | the few functions of libuv that this takes, where the program has them |
//! | `border` | an environment's calls: started, cancelled, delivered |
//! | `cassette` | files of recordings, by their numbers |
//! | `client` | a client's handle |
//! | `fetch` | its fetch |
//! | `job` | its jobs, from a file to a file |
//! | `hooks` | questions to its hooks |
//! | `mock` | the stand-in upstream's handle |
//!
//! A call crosses in once, as texts, and out once, as texts. JavaScript chooses its number; every number that was
//! started comes back in exactly one end: an answer, a failure, or "aborted".

mod border;
mod cassette;
mod client;
mod fetch;
mod hooks;
mod intake;
mod job;
mod mailbox;
mod mock;
mod recent;
mod runtime;
#[expect(unsafe_code, reason = "functions of libuv, by their names")]
mod uv;
#[expect(unsafe_code, reason = "raw Node-API and libuv; each use says why it holds")]
mod wake;
#[expect(unsafe_code, reason = "raw Node-API; each use says why it holds")]
mod wire;

/// Of this library alone, not of Node. A call makes some fifty small allocations; mimalloc takes about a microsecond less
/// for them than glibc's malloc (`npm run bench`, chat at 64 at once).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

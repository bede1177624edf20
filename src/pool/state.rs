//! The locked data. What happens to it is in the files beside it, each of which sees one side:
//!
//! - `demand`: what callers want
//! - `supply`: what connections bring
//! - `rights`: who may open a socket
//! - `yielding`: what rests, and what goes for others
//! - `failure`: connects that fail
//! - `registry`: lines, origins and tenants that come and go
//!
//! No I/O and no await in here; whatever must happen outside of the lock is returned as [`After`]. Whoever changes a line's queue or what it
//! has ends in [`State::reconsider`] or [`State::feed`]: no waiter sleeps while a place is free.

use std::collections::HashMap;

use slab::Slab;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock::Reading;
use super::lease::Lease;
use super::limit::{Limit, LineId};
use super::line::{Line, Multiplexed};
use super::partition::{Partition, Tenant};
use super::queue::Rank;
use super::resting::Resting;
use super::right::SocketRight;
use super::site::Site;
use super::stats::CloseReason;
use super::yielding::Leaving;
use super::{Config, Error, Kind, Origin};

#[derive(Debug)]
pub(super) struct State {
    pub(super) lines: Slab<Line>,
    pub(super) by_partition: HashMap<Partition, LineId>,
    pub(super) sites: Slab<Site>,
    pub(super) by_origin: HashMap<Origin, usize>,
    pub(super) tenants: Slab<TenantState>,
    pub(super) by_tenant: HashMap<Tenant, usize>,
    /// The limit of all sockets together.
    pub(super) all: Limit,
    /// How many lines some limit denies a socket.
    pub(super) hungry: usize,
    pub(super) resting: Resting,
    /// By the number of the connection.
    pub(super) leaving: HashMap<u64, Leaving>,
    /// When somebody last looked whether the machine had slept.
    pub(super) looked: Option<Reading>,
    /// When tenants that nobody uses any more were last looked for.
    pub(super) looked_for_tenants: Option<Instant>,
    /// Calls for one tenant too many since then.
    pub(super) tenants_refused: usize,
    pub(super) next_ticket: u64,
    pub(super) next_socket: u64,
    pub(super) closing: bool,
}

#[derive(Debug)]
pub(super) struct TenantState {
    pub(super) limit: Limit,
    /// How many lines it has; without any it is forgotten.
    pub(super) lines: usize,
}

/// What is left to do when the lock is free again.
#[derive(Default)]
#[must_use = "rights to open must be used outside of the lock"]
pub(super) struct After {
    pub(super) open: Vec<SocketRight>,
}

/// What a checkout found.
pub(super) enum Found {
    Lease(Lease),
    /// To wait for: the grant, and the place in the queue of a line.
    Wait(oneshot::Receiver<Result<Lease, Error>>, LineId, Rank),
}

impl State {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            lines: Slab::new(),
            by_partition: HashMap::new(),
            sites: Slab::new(),
            by_origin: HashMap::new(),
            tenants: Slab::new(),
            by_tenant: HashMap::new(),
            all: Limit::new(config.max_connections.get()),
            hungry: 0,
            resting: Resting::default(),
            leaving: HashMap::new(),
            looked: None,
            looked_for_tenants: None,
            tenants_refused: 0,
            next_ticket: 0,
            next_socket: 0,
            closing: false,
        }
    }

    /// Lets go what rests now.
    pub(super) fn close_idle(&mut self) {
        let Self { lines, resting, .. } = self;
        for (_, line) in lines.iter_mut() {
            line.give_up_idle(resting, |_| Some(CloseReason::Shutdown));
            // One whose SETTINGS are not here yet was just made for somebody.
            let rests = |c: &Multiplexed| c.active == 0 && c.announced;
            line.give_up_shared(resting, |c| rests(c).then_some(CloseReason::Shutdown));
        }
    }

    /// Ends the queue and lets every resting connection go.
    pub(super) fn close(&mut self) {
        self.closing = true;
        let Self { lines, resting, .. } = self;
        for (_, line) in lines.iter_mut() {
            line.fail(usize::MAX, &Error::new(Kind::Closed));
            line.give_up_idle(resting, |_| Some(CloseReason::Shutdown));
            line.give_up_shared(resting, |_| Some(CloseReason::Shutdown));
        }
    }
}

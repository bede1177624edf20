//! Who shares sockets with whom: an origin, and within it a tenant and a lane.

use std::fmt;
use std::sync::Arc;

use super::Origin;

/// Whom a call is made for. Tenants never share a connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Tenant(Arc<str>);

/// The two kinds of calls that can have sockets of their own: streams hold one for half a minute, others for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    Streaming,
    Unary,
}

/// What two calls must have in common to share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partition {
    pub(super) origin: Origin,
    pub(super) tenant: Option<Tenant>,
    /// None where the pool has no lanes.
    pub(super) lane: Option<Lane>,
}

impl Tenant {
    /// A tenant of this name; the name is shown in the metrics.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    pub fn name(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Lane {
    /// `"streaming"` or `"unary"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Unary => "unary",
        }
    }
}

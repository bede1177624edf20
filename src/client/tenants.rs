//! Calls at once of each tenant of a client, whichever provider they go to: each has a gate of its own, so that nobody waits behind another's.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::gate::Gate;
use crate::policy::rate::{RateLimiter, RateLimits};
use crate::policy::schedule::CLASSES;
use crate::policy::turns::{AtOnce, Turns};
use crate::pool::{Tasks, Tenant};

/// So many may be remembered before those that have no calls are looked for.
const FEW: usize = 64;

pub(crate) struct Tenants {
    at_once: NonZeroUsize,
    gates: Mutex<Gates>,
    tasks: Tasks,
}

struct Gates {
    by_tenant: HashMap<Tenant, Arc<Gate>>,
    /// With so many, those without calls are forgotten.
    many: usize,
}

impl Tenants {
    pub(super) fn new(at_once: NonZeroUsize, tasks: &Tasks) -> Self {
        let gates = Gates { by_tenant: HashMap::new(), many: FEW };
        Self { at_once, gates: Mutex::new(gates), tasks: tasks.clone() }
    }

    /// Where the calls of a tenant get their turns.
    pub(super) fn gate_of(&self, tenant: &Tenant) -> Arc<Gate> {
        let Gates { by_tenant, many } = &mut *self.gates.lock();
        if let Some(gate) = by_tenant.get(tenant) {
            return gate.clone();
        }
        if by_tenant.len() >= *many {
            // Whoever has a turn or waits holds the gate. Twice as many as are left come before they are looked for again.
            by_tenant.retain(|_, gate| Arc::strong_count(gate) > 1);
            *many = FEW.max(by_tenant.len() * 2);
        }
        let rate = RateLimiter::new(&RateLimits { learn: false, ..RateLimits::default() }, Instant::now());
        let gate = Arc::new(Gate::new(Turns::new(AtOnce::Fixed(self.at_once.get()), rate), &self.tasks));
        by_tenant.insert(tenant.clone(), gate.clone());
        gate
    }

    /// How many wait, by priority.
    pub(super) fn depth(&self) -> [usize; CLASSES] {
        let mut depth = [0; CLASSES];
        for gate in self.gates.lock().by_tenant.values() {
            for (all, here) in depth.iter_mut().zip(gate.depth()) {
                *all += here;
            }
        }
        depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tenants_without_calls_are_forgotten_and_those_with_calls_are_not() {
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let tenants = Tenants::new(NonZeroUsize::MIN, &tasks);
        let held = tenants.gate_of(&Tenant::new("held"));
        for n in 0..10_000 {
            tenants.gate_of(&Tenant::new(&n.to_string()));
            assert!(tenants.gates.lock().by_tenant.len() <= FEW);
        }
        assert!(Arc::ptr_eq(&held, &tenants.gate_of(&Tenant::new("held"))));
    }
}

//! What clients of one name share in a process, whatever their threads: limits and who waits for them, circuits, retry budgets, kept answers, budgets,
//! and what is shared with other processes. A client without a name has all that for itself.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::memory::Memory;
use super::money::Money;
use super::notes::tell_of_others;
use super::provider::Bearing;
use super::shared::Shared;
use super::tenants::Tenants;
use crate::config::{
    BaseUrl, BudgetConfig, ClientConfig, DEFAULT_PROVIDER, ProviderConfig, QueueLimits, SharedConfig,
};
use crate::error::Error;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::money::Prices;
use crate::policy::rate::RateLimits;
use crate::policy::retry_budget::RetryBudgetPolicy;
use crate::pool::Tasks;
use crate::protocol::dialect::Protocol;
use crate::telemetry::{Audience, Events};

/// By name, for as long as a client of it is not closed.
static NAMES: LazyLock<Mutex<HashMap<Arc<str>, Entry>>> = LazyLock::new(Mutex::default);

struct Entry {
    common: Arc<Common>,
    clients: usize,
}

/// See the module.
pub(super) struct Common {
    settings: Settings,
    providers: Mutex<Vec<Known>>,
    /// All clients that are there.
    pub(super) audience: Arc<Audience>,
    /// None where nothing is remembered.
    pub(super) memory: Option<Arc<Memory>>,
    pub(super) money: Arc<Money>,
    /// Where their calls at once are limited.
    pub(super) tenants: Option<Arc<Tenants>>,
    /// None where nothing is shared with other processes.
    pub(super) shared: Option<Arc<Shared>>,
}

/// What was set for what is shared: all who share it have set the same.
struct Settings {
    breaker: Option<BreakerPolicy>,
    retries: RetryBudgetPolicy,
    /// How many bytes of answers are kept; None where nothing is remembered.
    cache: Option<u64>,
    budget: Option<BudgetConfig>,
    pricing: Prices,
    tenant_calls: Option<NonZeroUsize>,
    shared: Option<SharedConfig>,
    replays: bool,
}

/// A provider of any of the clients, and what was set for it.
struct Known {
    name: Arc<str>,
    base: BaseUrl,
    protocol: Protocol,
    rate: RateLimits,
    queue: QueueLimits,
    bearing: Bearing,
}

/// A client's share of it; given back once, by [`Membership::release`] or on drop.
pub(super) struct Membership {
    common: Arc<Common>,
    name: Option<Arc<str>>,
    released: AtomicBool,
}

impl Membership {
    /// The one of a client, with what each of the client's providers has, in their order.
    ///
    /// # Errors
    /// Where others of its name have set something else, or the file of a budget cannot be used.
    pub(super) fn of(
        config: &ClientConfig,
        replays: bool,
        events: &Arc<Events>,
        tasks: &Tasks,
    ) -> Result<(Self, Vec<Bearing>), Error> {
        let common = match &config.name {
            None => Common::new(config, replays, tasks)?,
            Some(name) => {
                let mut names = NAMES.lock();
                if let Some(entry) = names.get_mut(name) {
                    entry.common.check(config, replays, name)?;
                    entry.clients += 1;
                    entry.common.clone()
                } else {
                    let common = Common::new(config, replays, tasks)?;
                    names.insert(name.clone(), Entry { common: common.clone(), clients: 1 });
                    common
                }
            }
        };
        common.audience.join(events);
        let this = Self { common, name: config.name.clone(), released: AtomicBool::new(false) };
        // Each is checked once more, when nobody else can add it: another client may bring the same provider just now.
        let bearings = config.providers.iter().map(|provider| this.bearing(provider, config, tasks));
        let bearings = bearings.collect::<Result<_, _>>()?;
        Ok((this, bearings))
    }

    /// Whether others may share what this client has, now or later.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Gives the share back. Whether it was the last one.
    pub(super) fn release(&self) -> bool {
        let Some(name) = &self.name else { return true };
        if self.released.swap(true, Ordering::Relaxed) {
            return false;
        }
        let mut names = NAMES.lock();
        let Some(entry) = names.get_mut(name) else { return true };
        entry.clients -= 1;
        let is_last = entry.clients == 0;
        let ended = is_last.then(|| names.remove(name));
        // What ends with it ends without the lock.
        drop(names);
        drop(ended);
        is_last
    }

    fn bearing(
        &self,
        provider: &ProviderConfig,
        client: &ClientConfig,
        tasks: &Tasks,
    ) -> Result<Bearing, Error> {
        let Common { providers, tenants, shared, .. } = &**self;
        let mut providers = providers.lock();
        if let Some(known) = providers.iter().find(|known| known.name == provider.name) {
            known.check(provider, self.name.as_deref().unwrap_or_default())?;
            return Ok(known.bearing.clone());
        }
        let bearing = Bearing::new(provider, client, tenants.as_ref(), shared.as_ref(), tasks);
        if let Some((shared, circuits)) = shared.as_ref().zip(bearing.circuits.as_ref()) {
            shared.post_circuits(&provider.name, circuits);
        }
        providers.push(Known::of(provider, bearing.clone()));
        Ok(bearing)
    }
}

impl Deref for Membership {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Those that were closed before may still be held, and the money by them.
        if self.release() {
            self.money.let_go();
        }
    }
}

impl Common {
    fn new(config: &ClientConfig, replays: bool, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let audience = Arc::<Audience>::default();
        let shared = config.shared.as_ref().filter(|_| !replays).map(|shared| Shared::open(shared, tasks));
        if let Some((shared, policy)) = shared.as_ref().zip(config.breaker) {
            shared.keep_circuits(policy.recovery, tell_of_others(&audience), tasks);
        }
        Ok(Arc::new(Self {
            settings: Settings::of(config, replays),
            providers: Mutex::default(),
            memory: config.cache.as_ref().map(|policy| Arc::new(Memory::new(policy))),
            money: Arc::new(Money::new(config.budget.as_ref(), shared.as_deref(), &audience)?),
            tenants: config.tenant_calls.map(|at_once| Arc::new(Tenants::new(at_once, tasks))),
            audience,
            shared,
        }))
    }

    /// Before anything is added to it.
    fn check(&self, config: &ClientConfig, replays: bool, name: &str) -> Result<(), Error> {
        let (own, given) = (&self.settings, Settings::of(config, replays));
        let equal = [
            ("circuitBreaker", own.breaker == given.breaker),
            ("retry.budget", own.retries == given.retries),
            ("cache", own.cache.is_some() == given.cache.is_some()),
            ("cache.maxBytes", own.cache == given.cache),
            ("budget", own.budget == given.budget),
            ("pricing", own.pricing == given.pricing),
            ("tenants.maxConcurrent", own.tenant_calls == given.tenant_calls),
            ("shared", own.shared == given.shared),
            ("cassette", own.replays == given.replays),
        ];
        all_equal(&equal, name, str::to_owned)?;
        let known = self.providers.lock();
        let of = |provider: &ProviderConfig| known.iter().find(|known| known.name == provider.name);
        config.providers.iter().try_for_each(|provider| match of(provider) {
            Some(known) => known.check(provider, name),
            None => Ok(()),
        })
    }
}

impl Settings {
    fn of(config: &ClientConfig, replays: bool) -> Self {
        Self {
            breaker: config.breaker,
            retries: config.retry.budget,
            cache: config.cache.map(|policy| policy.max_bytes),
            budget: config.budget.clone(),
            pricing: config.pricing.clone(),
            tenant_calls: config.tenant_calls,
            shared: config.shared.clone(),
            replays,
        }
    }
}

impl Known {
    fn of(provider: &ProviderConfig, bearing: Bearing) -> Self {
        let ProviderConfig { name, base, protocol, rate, queue, .. } = provider;
        let (name, base, rate) = (name.clone(), base.clone(), rate.clone());
        Self { name, base, protocol: *protocol, rate, queue: *queue, bearing }
    }

    fn check(&self, given: &ProviderConfig, name: &str) -> Result<(), Error> {
        let equal = [
            ("baseURL", self.base == given.base),
            ("protocol", self.protocol == given.protocol),
            ("rateLimit", self.rate == given.rate),
            ("concurrency", self.queue == given.queue),
        ];
        all_equal(&equal, name, |option| match &*self.name {
            // It is described at the top.
            DEFAULT_PROVIDER => option.to_owned(),
            provider => format!("providers.{provider}.{option}"),
        })
    }
}

/// # Errors
/// The first that is not, by its path.
fn all_equal(options: &[(&str, bool)], name: &str, path: impl Fn(&str) -> String) -> Result<(), Error> {
    match options.iter().find(|(_, is_equal)| !is_equal) {
        None => Ok(()),
        Some((option, _)) => Err(Error::config(format!(
            "{}: differs from that of another client named '{name}': what clients of one name share is set alike; give the \
             same, or another name",
            path(option)
        ))),
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("name", &self.name).finish_non_exhaustive()
    }
}

//! Lines, origins and tenants: made when first asked for, forgotten when nothing is left of them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::limit::{Limit, LineId};
use super::line::Line;
use super::partition::{Partition, Tenant};
use super::site::Site;
use super::state::{State, TenantState};
use super::{Config, Error, Kind};

/// Where all tenants are in use, a further one costs a look through all lines no more often than this.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl State {
    /// The line of a partition, made where there is none.
    pub(super) fn line_of(
        &mut self,
        partition: &Partition,
        config: &Config,
        now: Instant,
    ) -> Result<LineId, Error> {
        if let Some(id) = self.by_partition.get(partition) {
            return Ok(*id);
        }
        let tenant = match &partition.tenant {
            Some(tenant) => Some(self.tenant_of(tenant, config, now)?),
            None => None,
        };
        let site = match self.by_origin.get(&partition.origin) {
            Some(site) => *site,
            None => {
                let site = self.sites.insert(Site::new(config.of(&partition.origin)));
                self.by_origin.insert(partition.origin.clone(), site);
                site
            }
        };
        if let Some(site) = self.sites.get_mut(site) {
            site.lines += 1;
        }
        if let Some(tenant) = tenant.and_then(|tenant| self.tenants.get_mut(tenant)) {
            tenant.lines += 1;
        }
        let id = self.lines.insert(Line::new(partition.clone(), site, tenant, now));
        self.by_partition.insert(partition.clone(), id);
        Ok(id)
    }

    fn tenant_of(&mut self, tenant: &Tenant, config: &Config, now: Instant) -> Result<usize, Error> {
        if let Some(known) = self.by_tenant.get(tenant) {
            return Ok(*known);
        }
        let is_full = |state: &Self| state.tenants.len() >= config.max_tenants.get();
        let looked = |at: Instant| now.saturating_duration_since(at) < LOOK_AGAIN;
        if is_full(self) && !self.looked_for_tenants.is_some_and(looked) {
            self.looked_for_tenants = Some(now);
            self.forget(|line| line.tenant.is_some() && line.is_unused());
            if is_full(self) {
                let refused = std::mem::take(&mut self.tenants_refused);
                self.evict_tenants(refused + 1);
            }
        }
        if is_full(self) {
            self.tenants_refused += 1;
            return Err(Error::new(Kind::TooManyTenants(config.max_tenants.get())));
        }
        let max = config.max_connections_per_tenant.unwrap_or(config.max_connections);
        let id = self.tenants.insert(TenantState { limit: Limit::new(max.get()), lines: 0 });
        self.by_tenant.insert(tenant.clone(), id);
        Ok(id)
    }

    /// Lets go what rests of so many tenants that have nothing else, those first that were not asked for for the longest time. They
    /// are forgotten once it has gone; those of which it is on its way already are among the number.
    fn evict_tenants(&mut self, count: usize) {
        struct Found {
            has_calls: bool,
            resting: usize,
            touched: Instant,
        }
        let mut found: HashMap<usize, Found> = HashMap::new();
        for (_, line) in &self.lines {
            let Some(tenant) = line.tenant else { continue };
            let new = Found { has_calls: false, resting: 0, touched: line.touched };
            let tenant = found.entry(tenant).or_insert(new);
            tenant.has_calls |= line.has_calls();
            tenant.resting += line.resting();
            tenant.touched = tenant.touched.max(line.touched);
        }
        found.retain(|_, tenant| !tenant.has_calls);
        let on_its_way = found.values().filter(|tenant| tenant.resting == 0).count();
        found.retain(|_, tenant| tenant.resting > 0);
        let mut resting: Vec<_> = found.iter().map(|(id, tenant)| (tenant.touched, *id)).collect();
        resting.sort_unstable();
        resting.truncate(count.saturating_sub(on_its_way));
        for (_, tenant) in resting {
            let own = self.lines.iter().filter(|(_, line)| line.tenant == Some(tenant));
            let own: Vec<_> = own.map(|(id, line)| (id, line.resting())).collect();
            for (id, count) in own {
                for _ in 0..count {
                    self.evict_longest_resting(id);
                }
            }
        }
    }

    /// Forgets lines, which must be unused, and the origins and tenants of which none is left.
    pub(super) fn forget(&mut self, which: impl Fn(&Line) -> bool) {
        let ids: Vec<LineId> = self.lines.iter().filter(|(_, line)| which(line)).map(|(id, _)| id).collect();
        for id in ids {
            self.strike(id);
            let Some(Line { partition, site, tenant, .. }) = self.lines.try_remove(id) else { continue };
            self.by_partition.remove(&partition);
            if let Some(known) = self.sites.get_mut(site) {
                known.lines -= 1;
                if known.lines == 0 {
                    self.sites.remove(site);
                    self.by_origin.remove(&partition.origin);
                }
            }
            if let Some((id, name)) = tenant.zip(partition.tenant)
                && let Some(known) = self.tenants.get_mut(id)
            {
                known.lines -= 1;
                if known.lines == 0 {
                    self.tenants.remove(id);
                    self.by_tenant.remove(&name);
                }
            }
        }
    }

    pub(super) fn line_and_site(&self, id: LineId) -> Option<(&Line, &Site)> {
        let line = self.lines.get(id)?;
        Some((line, self.sites.get(line.site)?))
    }

    pub(super) fn line_and_site_mut(&mut self, id: LineId) -> Option<(&mut Line, &mut Site)> {
        let line = self.lines.get_mut(id)?;
        let site = self.sites.get_mut(line.site)?;
        Some((line, site))
    }
}

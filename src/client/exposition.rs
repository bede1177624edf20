//! All figures, for whoever scrapes them. What is told by model has names for the models that came first (`Rows`); what grows never shrinks.
//! docs/metrics.md says what each is, and a test holds that page to this file.

mod origins;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::time::Instant;

use self::origins::by_origin;
use super::Client;
use crate::policy::money::{Numbers, Period, Row as Spent, Standing};
use crate::pool::{Priority, Snapshot, Tally};
use crate::telemetry::{Distribution, Families, NONE, WAITS};

impl Client {
    /// Its figures, each with these labels beside its own.
    pub fn figures(&self, labels: Vec<(String, String)>) -> Families {
        let mut all = Families::new(labels);
        self.calls(&mut all);
        self.spent(&mut all);
        self.budgets(&mut all);
        self.waits(&mut all);
        self.connections(&mut all);
        self.circuits(&mut all);
        self.limits(&mut all);
        self.remembered(&mut all);
        let sums = self.counters.sums();
        all.counter("trunkline_sent_bytes", "Bytes of request bodies.").add(&[], sums.sent as f64);
        all.counter("trunkline_received_bytes", "Bytes of answers' bodies.").add(&[], sums.received as f64);
        all.gauge("trunkline_start_time_seconds", "When the client was made, in seconds since 1970.")
            .add(&[], self.counters.born());
        all.gauge("trunkline_build_info", "Always 1; which version this is.")
            .add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        all
    }

    /// Calls by whom they were sent to, and how they ended.
    fn calls(&self, all: &mut Families) {
        let rows = self.counters.rows.all();
        let labelled = || {
            rows.iter().map(|(provider, model, row)| ([("provider", &**provider), ("model", &**model)], row))
        };
        let family = all.counter("trunkline_requests", "Calls that have ended.");
        for ([provider, model], row) in labelled() {
            for (end, count) in row.ends() {
                let labels = [provider, model, ("status", &end.status()), ("error", end.error())];
                family.add(&labels, count as f64);
            }
        }
        all.gauge("trunkline_requests_in_flight", "Calls that are under way, those that wait included.")
            .add(&[], self.counters.sums().in_flight as f64);
        let family = all.histogram(
            "trunkline_request_duration_seconds",
            "From a call's start to its end, waits and retries included; not of calls whose caller left.",
        );
        for (labels, row) in labelled() {
            family.distribution(&labels, &row.duration.distribution());
        }
        let family = all.histogram(
            "trunkline_first_byte_seconds",
            "From a request to the head of its answer or, in a stream, to the first piece that says something.",
        );
        for (labels, row) in labelled() {
            family.distribution(&labels, &row.first_byte.distribution());
        }
        let family = all.histogram(
            "trunkline_output_tokens_per_second",
            "Tokens of an answer by the seconds from its request to its end.",
        );
        for (labels, row) in labelled() {
            family.distribution(&labels, &row.pace.distribution());
        }
        let family = all.counter("trunkline_retries", "Attempts after a failed one at the same target.");
        for (labels, row) in labelled() {
            family.add(&labels, row.retried.load(Ordering::Relaxed) as f64);
        }
        let family = all.counter("trunkline_failovers", "Steps from this target to the next one.");
        for (labels, row) in labelled() {
            family.add(&labels, row.failed_over.load(Ordering::Relaxed) as f64);
        }
        let family = all.counter("trunkline_hedges", "Attempts beside a slow one.");
        for (labels, row) in labelled() {
            family.add(&labels, row.hedged.load(Ordering::Relaxed) as f64);
        }
    }

    /// Tokens and dollars, as `costs()` has them.
    fn spent(&self, all: &mut Families) {
        let numbers = Numbers::at(SystemTime::now());
        let mut rows = BTreeMap::<_, Spent>::new();
        for provider in self.targets.providers() {
            for (model, row) in provider.ledger.rows(Period::All, numbers) {
                let model = self.counters.rows.name(provider.name(), &model);
                rows.entry((provider.name().clone(), model)).or_default().merge(&row);
            }
        }
        let labelled = || {
            rows.iter()
                .map(|((provider, model), row)| ([("provider", &**provider), ("model", &**model)], row))
        };
        let family = all.counter(
            "trunkline_tokens",
            "Tokens, each of one type, as providers report them or as they are estimated.",
        );
        for ([provider, model], row) in labelled() {
            for (kind, tokens) in [
                ("input", row.input.saturating_sub(row.cached).saturating_sub(row.written)),
                ("input_cached", row.cached),
                ("input_cache_write", row.written),
                ("output", row.output.saturating_sub(row.reasoning)),
                ("output_reasoning", row.reasoning),
            ] {
                family.add(&[provider, model, ("type", kind)], tokens as f64);
            }
        }
        let family =
            all.counter("trunkline_cost_dollars", "US dollars that were spent, as far as there are prices.");
        for (labels, row) in labelled() {
            family.add(&labels, row.cost.dollars());
        }
        let family = all.counter("trunkline_cost_estimated_dollars", "What of the cost is estimated.");
        for (labels, row) in labelled() {
            family.add(&labels, row.estimated.dollars());
        }
        let family = all.counter("trunkline_charged_requests", "Attempts that are charged for, or may be.");
        for (labels, row) in labelled() {
            family.add(&labels, row.requests as f64);
        }
        let family = all.counter("trunkline_unpriced_requests", "Those of them that have no price.");
        for (labels, row) in labelled() {
            family.add(&labels, row.unpriced as f64);
        }
    }

    /// The budgets that are of all calls: those of tenants are as many as there are tenants.
    fn budgets(&self, all: &mut Families) {
        let standings = self.money.standings();
        let standings: Vec<_> = standings.iter().filter(|standing| standing.name.is_none()).collect();
        let labels = |standing: &Standing| [("unit", standing.unit.as_str()), ("window", standing.window)];
        let family = all.gauge(
            "trunkline_budget_limit",
            "The budget of all calls in its window, in US dollars or tokens.",
        );
        standings.iter().for_each(|standing| family.add(&labels(standing), standing.limit));
        let family = all.gauge("trunkline_budget_spent", "What of it was spent in the window of now.");
        standings.iter().for_each(|standing| family.add(&labels(standing), standing.spent));
        let family = all.gauge("trunkline_budget_reserved", "What calls under way have spoken for.");
        standings.iter().for_each(|standing| family.add(&labels(standing), standing.reserved));
    }

    /// Who waits, and how long it took.
    fn waits(&self, all: &mut Families) {
        let pool = self.pool.number().to_string();
        let pool = ("pool", &*pool);
        let snapshot = self.pool.snapshot();
        let mut turns = self.tenant_turns();
        self.targets.providers().for_each(|provider| provider.admission.add_to(&mut turns));
        let family = all.gauge("trunkline_turn_queue_depth", "Calls that wait for their turn.");
        for (priority, depth) in Priority::ALL.iter().zip(turns.depth) {
            family.add(&[("priority", priority.as_str())], depth as f64);
        }
        all.histogram("trunkline_turn_wait_seconds", "How long those waited for their turn that had to.")
            .distribution(&[], &times(&self.counters.turns.times.tally(&WAITS)));
        all.counter("trunkline_turns_refused", "Calls that found too many waiting for their turn.")
            .add(&[], turns.refused as f64);
        let family = all.gauge(
            "trunkline_pool_queue_depth",
            "Calls of all clients of the pool that wait for a connection.",
        );
        for (priority, depth) in Priority::ALL.iter().zip(snapshot.queue.depth) {
            family.add(&[pool, ("priority", priority.as_str())], depth as f64);
        }
        all.counter(
            "trunkline_pool_refused",
            "Requests that found too many waiting for a connection, or too many tenants.",
        )
        .add(&[pool], snapshot.queue.refused as f64);
        let [handshakes, waits] = self.pool.tallies(&WAITS);
        all.histogram(
            "trunkline_pool_wait_seconds",
            "How long requests waited for a connection, those that had one at once included.",
        )
        .distribution(&[pool], &times(&waits));
        all.histogram(
            "trunkline_pool_handshake_seconds",
            "DNS, TCP and TLS of the connections that were opened.",
        )
        .distribution(&[pool], &times(&handshakes));
        self.pool_sums(all, pool, &snapshot);
    }

    fn pool_sums(&self, all: &mut Families, pool: (&'static str, &str), snapshot: &Snapshot) {
        all.counter("trunkline_pool_connections_opened", "Connections that were opened.")
            .add(&[pool], snapshot.opened as f64);
        let family =
            all.counter("trunkline_pool_connections_closed", "Connections that were closed, by why.");
        for (reason, count) in &snapshot.closed {
            family.add(&[pool, ("reason", reason)], *count as f64);
        }
        all.counter("trunkline_pool_connections_reused", "Requests that found a connection.")
            .add(&[pool], snapshot.reused as f64);
        all.counter("trunkline_pool_tls_resumed", "TLS handshakes that resumed a session.")
            .add(&[pool], snapshot.tls_resumed as f64);
        all.counter(
            "trunkline_pool_handshake_saved_seconds",
            "What the handshakes of reused connections had taken.",
        )
        .add(&[pool], snapshot.handshake_time_saved / 1000.0);
        all.gauge("trunkline_pool_connections_max", "The most connections there may be.")
            .add(&[pool], snapshot.connections.max as f64);
        all.gauge("trunkline_pool_connections_peak", "The most there were at once.")
            .add(&[pool], snapshot.connections.peak as f64);
    }

    /// By origin, the lanes and tenants of one together.
    fn connections(&self, all: &mut Families) {
        let number = self.pool.number().to_string();
        let origins = by_origin(&self.pool.snapshot().origins);
        let provider_of = |origin: &str| self.provider_at(origin).map_or(NONE, |provider| &**provider.name());
        let labels = |origin| [("pool", &*number), ("origin", origin), ("provider", provider_of(origin))];
        let family = all.gauge("trunkline_pool_connections", "Connections there are, by state.");
        for (origin, here) in &origins {
            let [pool, origin, provider] = labels(origin);
            for (state, count) in [
                ("active", here.active),
                ("idle", here.idle),
                ("connecting", here.connecting),
                ("draining", here.draining),
            ] {
                family.add(&[pool, origin, provider, ("state", state)], count as f64);
            }
        }
        let family = all.gauge("trunkline_pool_streams", "Requests under way on HTTP/2 connections.");
        origins.iter().for_each(|(origin, here)| family.add(&labels(origin), here.streams as f64));
        let family = all
            .gauge("trunkline_pool_streams_max", "Requests that the open HTTP/2 connections take together.");
        origins.iter().for_each(|(origin, here)| family.add(&labels(origin), here.capacity as f64));
        let family = all.gauge("trunkline_pool_waiting", "Requests that wait for a connection.");
        origins.iter().for_each(|(origin, here)| family.add(&labels(origin), here.waiting as f64));
    }

    fn circuits(&self, all: &mut Families) {
        let now = Instant::now();
        let family = all.gauge(
            "trunkline_circuit_state",
            "1 for the state that a circuit is in. Without a model: that of the provider as a whole.",
        );
        let providers = || {
            self.targets
                .providers()
                .filter_map(|provider| Some((provider.name(), provider.circuits.as_ref()?)))
        };
        for (provider, circuits) in providers() {
            for circuit in circuits.states(now) {
                let Some(model) = self.shown(provider, circuit.model.as_deref()) else { continue };
                for state in ["closed", "open", "half-open"] {
                    let is_in = circuit.state.as_str() == state;
                    let labels = [("provider", &**provider), ("model", model), ("state", state)];
                    family.add(&labels, f64::from(u8::from(is_in)));
                }
            }
        }
        let family = all.counter(
            "trunkline_circuit_transitions",
            "Changes of circuits to each state, of a provider and its models together.",
        );
        for (provider, circuits) in providers() {
            let changes = circuits.transitions();
            for (state, count) in
                [("closed", changes.closed), ("open", changes.opened), ("half-open", changes.half_opened)]
            {
                family.add(&[("provider", provider), ("state", state)], count as f64);
            }
        }
    }

    fn limits(&self, all: &mut Families) {
        let now = Instant::now();
        let by_provider: Vec<_> = self
            .targets
            .providers()
            .map(|provider| (provider.name(), provider.admission.limits(now)))
            .collect();
        let family = all.gauge(
            "trunkline_rate_limit_remaining",
            "Calls and tokens that could go now. Without a model: by the limits that the options set for the provider.",
        );
        for (provider, limits) in &by_provider {
            for limit in limits {
                let Some(model) = self.shown(provider, limit.model.as_deref()) else { continue };
                for (kind, left) in [("requests", limit.left.requests), ("tokens", limit.left.tokens)] {
                    let Some(left) = left else { continue };
                    let labels = [("provider", &***provider), ("model", model), ("kind", kind)];
                    family.add(&labels, left as f64);
                }
            }
        }
        let family = all.counter(
            "trunkline_throttled",
            "Answers of 429 and 529, but those that say that the credit is gone.",
        );
        for (provider, limits) in &by_provider {
            let throttled =
                limits.iter().find(|limit| limit.model.is_none()).map_or(0, |limit| limit.throttled);
            family.add(&[("provider", provider)], throttled as f64);
        }
    }

    /// The name of a model whose figures come and go; None where it has none of its own. The provider as a whole has an empty one.
    fn shown<'a>(&self, provider: &str, model: Option<&'a str>) -> Option<&'a str> {
        match model {
            None => Some(""),
            Some("") => Some(NONE),
            // Each of several keys has limits of its own.
            Some(model) => {
                let known = model.split_once(" (key ").map_or(model, |(model, _)| model);
                self.counters.rows.knows(provider, known).then_some(model)
            }
        }
    }

    /// What memory has given.
    fn remembered(&self, all: &mut Families) {
        let sums = self.counters.sums();
        let figures = self.memory.as_ref().map(|memory| memory.figures());
        let figures = figures.as_ref();
        let mut counter = |name, help, value: Option<u64>| {
            let family = all.counter(name, help);
            value.into_iter().for_each(|value| family.add(&[], value as f64));
        };
        counter("trunkline_cached_requests", "Calls that were answered from memory.", Some(sums.cached));
        counter(
            "trunkline_coalesced_requests",
            "Calls that waited for the exchange of another.",
            Some(sums.coalesced),
        );
        counter(
            "trunkline_cache_hits",
            "Answers that were kept and given again.",
            figures.map(|cache| cache.hits),
        );
        counter(
            "trunkline_cache_misses",
            "Calls whose answer might have been kept, and was not.",
            figures.map(|cache| cache.misses),
        );
        counter(
            "trunkline_cache_evicted",
            "Answers that made room for others.",
            figures.map(|cache| cache.evicted),
        );
        counter(
            "trunkline_cache_expired",
            "Answers whose time was over.",
            figures.map(|cache| cache.expired),
        );
        let saved = self.money.saved_cost();
        all.counter(
            "trunkline_cost_saved_dollars",
            "What the answers had cost that were not asked for again.",
        )
        .add(&[], saved.dollars());
        let mut gauge = |name, help, value: Option<u64>| {
            let family = all.gauge(name, help);
            value.into_iter().for_each(|value| family.add(&[], value as f64));
        };
        gauge("trunkline_cache_entries", "Answers that are kept.", figures.map(|cache| cache.entries));
        gauge("trunkline_cache_bytes", "What they take.", figures.map(|cache| cache.bytes));
        gauge("trunkline_cache_max_bytes", "What they may take.", figures.map(|cache| cache.max_bytes));
    }
}

fn times(tally: &Tally) -> Distribution {
    let within = WAITS.iter().map(|bound| bound.as_secs_f64()).zip(tally.within.iter().copied()).collect();
    Distribution { within, count: tally.count, sum: tally.sum.as_secs_f64() }
}

//! What there is at each origin.

use std::collections::BTreeMap;

use crate::pool::OriginSnapshot;
use crate::telemetry::OTHERS;

/// Origins that have figures of their own: fetch goes to any.
const MAX_ORIGINS: usize = 50;

/// What an origin has, in all of its lines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Here {
    pub(super) active: usize,
    pub(super) idle: usize,
    pub(super) connecting: usize,
    pub(super) draining: usize,
    pub(super) streams: usize,
    pub(super) capacity: usize,
    pub(super) waiting: usize,
}

/// Those that have most, and the others together.
pub(super) fn by_origin(lines: &[OriginSnapshot]) -> Vec<(String, Here)> {
    let mut origins = BTreeMap::<&str, Here>::new();
    for line in lines {
        origins.entry(&line.origin).or_default().add(Here {
            active: line.active,
            idle: line.idle,
            connecting: line.connecting,
            draining: line.draining,
            streams: line.streams,
            capacity: line.capacity,
            waiting: line.waiting,
        });
    }
    let mut origins: Vec<_> = origins.into_iter().map(|(origin, here)| (origin.to_owned(), here)).collect();
    if origins.len() > MAX_ORIGINS {
        let sockets = |here: &Here| here.active + here.idle + here.connecting + here.draining;
        origins.sort_by_key(|(_, here)| std::cmp::Reverse(sockets(here)));
        let mut others = Here::default();
        origins.drain(MAX_ORIGINS..).for_each(|(_, here)| others.add(here));
        origins.push((OTHERS.to_owned(), others));
    }
    origins
}

impl Here {
    fn add(&mut self, more: Self) {
        let sums = [
            (&mut self.active, more.active),
            (&mut self.idle, more.idle),
            (&mut self.connecting, more.connecting),
            (&mut self.draining, more.draining),
            (&mut self.streams, more.streams),
            (&mut self.capacity, more.capacity),
            (&mut self.waiting, more.waiting),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(origin: usize, idle: usize) -> OriginSnapshot {
        OriginSnapshot {
            origin: format!("http://{origin}").into(),
            provider: None,
            tenant: None,
            lane: None,
            protocol: None,
            active: 1,
            idle,
            connecting: 0,
            draining: 0,
            waiting: 0,
            streams: 0,
            capacity: 0,
            free_streams: 0,
            opened: 0,
            reused: 0,
            closed: 0,
        }
    }

    #[test]
    fn origins_beyond_those_with_most_connections_are_summed() {
        let mut lines: Vec<_> = (0..MAX_ORIGINS + 3).map(|n| line(n, n)).collect();
        // Of another tenant.
        lines.push(line(0, 100));
        let origins = by_origin(&lines);
        assert_eq!(origins.len(), MAX_ORIGINS + 1);
        assert_eq!((origins[0].0.as_str(), origins[0].1.active, origins[0].1.idle), ("http://0", 2, 100));
        let (name, others) = &origins[MAX_ORIGINS];
        assert_eq!((name.as_str(), others.active, others.idle), (OTHERS, 3, 1 + 2 + 3));
    }
}

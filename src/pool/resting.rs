//! The connections at rest of all lines, in the order in which they came to rest.

use std::iter;

use slab::Slab;

use super::limit::LineId;
use super::rights::Bound;

/// A list that is linked both ways: joined at its end, and left anywhere, by each call.
#[derive(Debug, Default)]
pub(super) struct Resting {
    seats: Slab<Linked>,
    longest: Option<usize>,
    latest: Option<usize>,
    /// How many of each origin and tenant, by their numbers: where none rests, none is looked for.
    by_site: Vec<usize>,
    by_tenant: Vec<usize>,
}

#[derive(Debug)]
struct Linked {
    line: LineId,
    longer: Option<usize>,
    later: Option<usize>,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) line: LineId,
    pub(super) site: usize,
    pub(super) tenant: Option<usize>,
}

/// A seat among the resting. Given back by [`Resting::leave`], or it would count for ever.
#[must_use]
#[derive(Debug)]
pub(super) struct Seat {
    key: usize,
    site: usize,
    tenant: Option<usize>,
}

impl Resting {
    pub(super) fn join(&mut self, Owner { line, site, tenant }: Owner) -> Seat {
        let key = self.seats.insert(Linked { line, longer: self.latest, later: None });
        *self.place_after(self.latest) = Some(key);
        self.latest = Some(key);
        *count(&mut self.by_site, site) += 1;
        if let Some(tenant) = tenant {
            *count(&mut self.by_tenant, tenant) += 1;
        }
        Seat { key, site, tenant }
    }

    pub(super) fn leave(&mut self, Seat { key, site, tenant }: Seat) {
        let Linked { longer, later, .. } = self.seats.remove(key);
        *self.place_after(longer) = later;
        *self.place_before(later) = longer;
        *count(&mut self.by_site, site) -= 1;
        if let Some(tenant) = tenant {
            *count(&mut self.by_tenant, tenant) -= 1;
        }
    }

    /// The line of each, from the one that has rested longest.
    pub(super) fn lines(&self) -> impl Iterator<Item = LineId> {
        let first = self.longest.map(|key| &self.seats[key]);
        iter::successors(first, |linked| linked.later.map(|key| &self.seats[key])).map(|linked| linked.line)
    }

    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether any rests that counts against the same limit as this owner's; of a lane, against its origin's.
    pub(super) fn any_under(&self, owner: Owner, bound: Bound) -> bool {
        let any = |counts: &[usize], number: usize| counts.get(number).is_some_and(|count| *count > 0);
        match bound {
            Bound::Lane | Bound::Site => any(&self.by_site, owner.site),
            Bound::Tenant => owner.tenant.is_some_and(|tenant| any(&self.by_tenant, tenant)),
            Bound::Pool => !self.seats.is_empty(),
        }
    }

    // Keys come from seats, each of which is left once, by value.
    fn place_after(&mut self, key: Option<usize>) -> &mut Option<usize> {
        match key {
            Some(key) => &mut self.seats[key].later,
            None => &mut self.longest,
        }
    }

    fn place_before(&mut self, key: Option<usize>) -> &mut Option<usize> {
        match key {
            Some(key) => &mut self.seats[key].longer,
            None => &mut self.latest,
        }
    }
}

fn count(counts: &mut Vec<usize>, number: usize) -> &mut usize {
    if counts.len() <= number {
        counts.resize(number + 1, 0);
    }
    // In bounds: it was just made as long.
    &mut counts[number]
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(line: LineId) -> Owner {
        Owner { line, site: 0, tenant: None }
    }

    fn lines(resting: &Resting) -> Vec<LineId> {
        resting.lines().collect()
    }

    #[test]
    fn who_leaves_leaves_the_others_in_their_order() {
        let mut resting = Resting::default();
        let mut seats: Vec<_> = (0..5).map(|line| Some(resting.join(of(line)))).collect();
        assert_eq!(lines(&resting), [0, 1, 2, 3, 4]);
        for (gone, left) in [(2, &[0, 1, 3, 4][..]), (0, &[1, 3, 4]), (4, &[1, 3])] {
            resting.leave(seats[gone].take().unwrap());
            assert_eq!(lines(&resting), left);
        }
        seats[0] = Some(resting.join(of(0)));
        assert_eq!(lines(&resting), [1, 3, 0]);
        for seat in seats.into_iter().flatten() {
            resting.leave(seat);
        }
        assert_eq!((lines(&resting), resting.len()), (vec![], 0));
        let _last = resting.join(of(7));
        assert_eq!(lines(&resting), [7]);
    }

    #[test]
    fn none_is_looked_for_where_none_rests() {
        let mut resting = Resting::default();
        let one = Owner { line: 0, site: 3, tenant: Some(1) };
        let other = Owner { line: 1, site: 4, tenant: None };
        let seat = resting.join(one);
        let any = |resting: &Resting, owner| {
            [Bound::Lane, Bound::Tenant, Bound::Site, Bound::Pool]
                .map(|bound| resting.any_under(owner, bound))
        };
        assert_eq!(any(&resting, one), [true; 4]);
        assert_eq!(any(&resting, other), [false, false, false, true]);
        resting.leave(seat);
        assert_eq!(any(&resting, one), [false; 4]);
    }
}

//! When a packet arrives, and whether it does.
//!
//! Each direction is one queue: no packet overtakes another, as with most of what is lost of a second in real networks, where packets of
//! one connection take one route. What jitter makes late therefore delays those behind it, and jitter is never mistaken for loss by TCP.
//! Each packet is lost by itself, as a tail that is dropped for a full queue would not be. There is no limit to what the path carries.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::options::Options;

/// From the client to the servers, and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    There,
    Back,
}

/// What became of the packets of one direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) carried: u64,
    pub(crate) lost: u64,
}

#[derive(Debug)]
pub(crate) struct Path {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    chance: fastrand::Rng,
    there: Direction,
    back: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    /// By the moment at which they are due.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    count: Count,
}

impl Path {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            delay: options.round_trip / 2,
            jitter: options.jitter,
            loss: options.loss,
            chance: fastrand::Rng::with_seed(options.seed),
            there: Direction::default(),
            back: Direction::default(),
        }
    }

    /// A packet sets out; one that is lost comes back at once, for its room.
    pub(crate) fn send(&mut self, way: Way, packet: Vec<u8>, now: Instant) -> Option<Vec<u8>> {
        let is_lost = self.loss > 0.0 && self.chance.f64() < self.loss;
        let sway = if self.jitter.is_zero() { 0.0 } else { self.chance.f64() };
        let due = now + self.delay - self.jitter + self.jitter.mul_f64(2.0 * sway);
        let direction = match way {
            Way::There => &mut self.there,
            Way::Back => &mut self.back,
        };
        if is_lost {
            direction.count.lost += 1;
            return Some(packet);
        }
        let due = direction.under_way.back().map_or(due, |(before, _)| due.max(*before));
        direction.under_way.push_back((due, packet));
        None
    }

    /// The next packet that has arrived by now.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        let direction = match (self.there.next(), self.back.next()) {
            (Some(there), Some(back)) if back < there => &mut self.back,
            (None, Some(_)) => &mut self.back,
            _ => &mut self.there,
        };
        direction.next().filter(|due| *due <= now)?;
        let (_, packet) = direction.under_way.pop_front()?;
        direction.count.carried += 1;
        Some(packet)
    }

    /// When the next one arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.there.next().into_iter().chain(self.back.next()).min()
    }

    pub(crate) fn counts(&self) -> (Count, Count) {
        (self.there.count, self.back.count)
    }
}

impl Direction {
    fn next(&self) -> Option<Instant> {
        self.under_way.front().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(jitter: u64, loss: f64) -> Path {
        Path::new(&Options {
            round_trip: Duration::from_millis(40),
            jitter: Duration::from_millis(jitter),
            loss,
            ..Options::default()
        })
    }

    #[test]
    fn a_packet_takes_half_a_round_trip_to_the_nanosecond() {
        let (mut path, now) = (path(0, 0.0), Instant::now());
        assert_eq!(path.send(Way::There, vec![1], now), None);
        assert_eq!(path.send(Way::Back, vec![2], now + Duration::from_millis(1)), None);
        let due = now + Duration::from_millis(20);
        assert_eq!(path.next(), Some(due));
        assert_eq!(path.arrived(due - Duration::from_nanos(1)), None);
        assert_eq!(path.arrived(due), Some(vec![1]));
        assert_eq!(path.arrived(due), None);
        assert_eq!(path.next(), Some(due + Duration::from_millis(1)));
        assert_eq!(path.arrived(due + Duration::from_millis(1)), Some(vec![2]));
        assert_eq!(path.next(), None);
    }

    #[test]
    fn jitter_is_within_its_bounds_and_lets_no_packet_overtake_another() {
        let (mut path, start) = (path(5, 0.0), Instant::now());
        // Far enough apart for each to have its own.
        let mut delays = Vec::new();
        for number in 0..1000_u32 {
            let sent = start + Duration::from_millis(20) * number;
            path.send(Way::There, vec![], sent);
            let due = path.next().unwrap();
            delays.push(due - sent);
            assert!(path.arrived(due).is_some());
        }
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*least >= Duration::from_millis(15) && *least < Duration::from_millis(16), "{least:?}");
        assert!(*most <= Duration::from_millis(25) && *most > Duration::from_millis(24), "{most:?}");
        // All at once.
        for number in 0..200 {
            path.send(Way::Back, vec![number], start);
        }
        let far = start + Duration::from_secs(60);
        let order: Vec<u8> = std::iter::from_fn(|| path.arrived(far)).map(|packet| packet[0]).collect();
        assert_eq!(order, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn as_many_packets_are_lost_as_was_asked_for_each_way_by_itself() {
        const SENT: u32 = 100_000;
        let (mut path, now) = (path(0, 0.01), Instant::now());
        let mut back = 0;
        for _ in 0..SENT {
            path.send(Way::There, vec![], now);
            back += u64::from(path.send(Way::Back, vec![7], now).is_some());
        }
        let arrived = std::iter::from_fn(|| path.arrived(now + Duration::from_secs(1))).count() as u64;
        let (there, ours) = path.counts();
        assert_eq!((ours.lost, there.carried + ours.carried), (back, arrived));
        for count in [there, ours] {
            assert_eq!(count.carried + count.lost, u64::from(SENT));
            // 1,000 are expected, with a deviation of 31: five of these to both sides.
            assert!((840..=1160).contains(&count.lost), "{count:?}");
        }
    }
}

//! The addresses in a packet: what is sent to the far address arrives at a server on 127.0.0.1, and its answers come from far away.

use std::net::Ipv4Addr;
use std::ops::Range;

use crate::path::Way;

/// The client's.
pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
/// At which servers are reached.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
/// On which they listen.
const SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;

const CHECKSUM: Range<usize> = 10..12;
const SOURCE: Range<usize> = 12..16;
const DESTINATION: Range<usize> = 16..20;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Makes of a packet as it left what arrives at the other end. None for what goes nowhere.
pub(crate) fn cross(packet: &mut [u8]) -> Option<Way> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || header < DESTINATION.end || packet.len() < header {
        return None;
    }
    let source = Ipv4Addr::from(<[u8; 4]>::try_from(&packet[SOURCE]).ok()?);
    if packet[DESTINATION] != FAR.octets() {
        return None;
    }
    let (way, to) = match source {
        NEAR => (Way::There, SERVER),
        SERVER => (Way::Back, NEAR),
        _ => return None,
    };
    // Source and destination change places, which sums of both do not notice; one of them becomes another besides.
    packet[SOURCE].copy_from_slice(&FAR.octets());
    packet[DESTINATION].copy_from_slice(&to.octets());
    let became = |sum: &mut [u8], is_udp: bool| {
        let old = u16::from_be_bytes([sum[0], sum[1]]);
        // UDP's 0 says that there is none.
        if !(is_udp && old == 0) {
            let new = adjusted(old, source, to);
            sum.copy_from_slice(&if is_udp && new == 0 { u16::MAX } else { new }.to_be_bytes());
        }
    };
    let protocol = packet[9];
    let is_first = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff == 0;
    became(&mut packet[CHECKSUM], false);
    let at = header + if protocol == TCP { 16 } else { 6 };
    if is_first
        && (protocol == TCP || protocol == UDP)
        && let Some(sum) = packet.get_mut(at..at + 2)
    {
        became(sum, protocol == UDP);
    }
    Some(way)
}

/// A checksum in which one address became another (RFC 1624, equation 3).
fn adjusted(sum: u16, old: Ipv4Addr, new: Ipv4Addr) -> u16 {
    let [old, new] = [old, new].map(|address| u32::from(address).to_be_bytes());
    let halves = |bytes: [u8; 4]| [[bytes[0], bytes[1]], [bytes[2], bytes[3]]].map(u16::from_be_bytes);
    let mut total = u32::from(!sum);
    for half in halves(old) {
        total += u32::from(!half);
    }
    for half in halves(new) {
        total += u32::from(half);
    }
    !folded(total)
}

fn folded(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ones' complement sum that holds where a packet is whole: of its header, and of what it carries with the pseudo header.
    fn is_sound(packet: &[u8]) -> bool {
        let sum = |bytes: &[u8]| {
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
        };
        let carried = &packet[20..];
        let length = u32::try_from(carried.len()).unwrap_or(0);
        let pseudo: u32 = sum(&packet[12..20]) + u32::from(packet[9]) + length;
        let rest: u32 = sum(carried);
        let head: u32 = sum(&packet[..20]);
        folded(head) == 0xffff && (packet[9] != TCP && packet[9] != UDP || folded(pseudo + rest) == 0xffff)
    }

    fn packet(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, words: &[u8]) -> Vec<u8> {
        let mut carried = vec![0; if protocol == TCP { 20 } else { 8 }];
        carried[..4].copy_from_slice(&[0x9c, 0x40, 0x01, 0xbb]);
        carried.extend(words);
        let length = u8::try_from(20 + carried.len()).unwrap_or(0);
        let mut packet = vec![0x45, 0, 0, length, 0, 7, 0x40, 0, 64, protocol, 0, 0];
        packet.extend(from.octets());
        packet.extend(to.octets());
        let seal = |bytes: &mut [u8], at: usize, more: u32| {
            let sum: u32 =
                bytes.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0))).sum();
            bytes[at..at + 2].copy_from_slice(&(!folded(sum + more)).to_be_bytes());
        };
        let ends: u32 = packet[12..20].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
        let more = ends + u32::from(protocol) + u32::from(length) - 20;
        seal(&mut carried, if protocol == TCP { 16 } else { 6 }, more);
        seal(&mut packet, 10, 0);
        packet.extend(carried);
        packet
    }

    #[test]
    fn what_crosses_comes_from_far_away_and_its_checksums_hold() {
        for protocol in [TCP, UDP] {
            for words in [&b"odd"[..], b"even", b"", &[0xff; 99]] {
                let mut sent = packet(protocol, NEAR, FAR, words);
                assert!(is_sound(&sent));
                assert_eq!(cross(&mut sent), Some(Way::There));
                assert_eq!((&sent[SOURCE], &sent[DESTINATION]), (&FAR.octets()[..], &SERVER.octets()[..]));
                assert!(is_sound(&sent) && sent.ends_with(words));

                let mut answer = packet(protocol, SERVER, FAR, words);
                assert_eq!(cross(&mut answer), Some(Way::Back));
                assert_eq!((&answer[SOURCE], &answer[DESTINATION]), (&FAR.octets()[..], &NEAR.octets()[..]));
                assert!(is_sound(&answer) && answer.ends_with(words));
            }
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_has_none_on_the_other_side() {
        let mut sent = packet(UDP, NEAR, FAR, b"words");
        sent[26..28].fill(0);
        assert_eq!(cross(&mut sent), Some(Way::There));
        assert_eq!(sent[26..28], [0, 0]);
    }

    #[test]
    fn what_is_not_for_the_far_side_goes_nowhere() {
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
        let mut version_6 = packet(TCP, NEAR, FAR, b"");
        version_6[0] = 0x65;
        for mut packet in [
            vec![],
            vec![0x45],
            vec![0x4f; 20],
            version_6,
            packet(TCP, NEAR, elsewhere, b""),
            packet(TCP, elsewhere, FAR, b""),
        ] {
            assert_eq!(cross(&mut packet), None);
        }
    }
}

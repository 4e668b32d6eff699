//! Addresses that are being looked for before they are offered: who waits for which, since when, and what was heard.
//!
//! Values in, values out: a shell sends what [`Probes::due`] says and hands in what it hears. Many machines wait at
//! once, each for an address of its own; nobody waits behind another.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::arp::Claim;

/// From the first question to the offer. A station on a LAN answers within 10 ms, a sleeping Wi-Fi bridge within 100 ms;
/// the client is patient longer: iPXE asks again after 1 s, EDK2 after 4 s, a Pi after 4 to 5 s. RFC 5227 takes 5 to 9 s,
/// since a host that probes for itself may be on a link that is only coming up; the manager's is not.
pub const WAIT: Duration = Duration::from_millis(300);

/// Questions within [`WAIT`]: one may be lost.
const QUESTIONS: u32 = 2;

/// Machines that wait at once. Two racks switched on together; beyond, an offer goes out without a probe.
pub const MAX_PROBES: usize = 2048;

/// All of one interface.
#[derive(Debug)]
pub struct Probes<T> {
    by_address: HashMap<Ipv4Addr, Probe<T>>,
    by_mac: HashMap<Mac, Ipv4Addr>,
}

impl<T> Default for Probes<T> {
    fn default() -> Self {
        Self {
            by_address: HashMap::new(),
            by_mac: HashMap::new(),
        }
    }
}

/// One machine waits for one address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe<T> {
    mac: Mac,
    waiting: T,
    started: Duration,
    asked: u32,
}

/// What to do with a request that needs a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum Start<T> {
    /// Wait for [`Probes::due`].
    Waits,
    /// Too many wait: answer it at once.
    Full(T),
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due<T> {
    /// Send a probe for this address.
    Ask(Ipv4Addr),
    /// Nobody has it: send what waited.
    Free(T),
}

/// Somebody has the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<T> {
    /// Who, and which.
    pub claim: Claim,
    /// Which machine it was for.
    pub waiting: T,
}

impl<T> Probes<T> {
    /// What a machine waits with from now on: its later packet has the transaction id it listens for, and the wait is as
    /// long as before. Handed back if it does not wait.
    pub fn again(&mut self, mac: Mac, waiting: T) -> Option<T> {
        let probe = self
            .by_mac
            .get(&mac)
            .and_then(|address| self.by_address.get_mut(address));
        match probe {
            Some(probe) => {
                probe.waiting = waiting;
                None
            }
            None => Some(waiting),
        }
    }

    /// A machine waits for an address from now on, and for no other.
    pub fn start(&mut self, mac: Mac, address: Ipv4Addr, waiting: T, now: Duration) -> Start<T> {
        self.stop(mac);
        if self.by_address.len() >= MAX_PROBES || self.by_address.contains_key(&address) {
            return Start::Full(waiting);
        }
        self.by_mac.insert(mac, address);
        self.by_address.insert(
            address,
            Probe {
                mac,
                waiting,
                started: now,
                asked: 0,
            },
        );
        Start::Waits
    }

    /// A machine does not wait any more.
    fn stop(&mut self, mac: Mac) {
        if let Some(address) = self.by_mac.remove(&mac) {
            self.by_address.remove(&address);
        }
    }

    /// An ARP frame was heard. The waiting machine's own word, and what `own` sent, is no conflict: a machine that
    /// starts over still has its old address for a moment.
    pub fn heard(&mut self, claim: Claim, own: Mac) -> Option<Conflict<T>> {
        let probe = self.by_address.get(&claim.address)?;
        if claim.mac == probe.mac || claim.mac == own {
            return None;
        }
        let probe = self.by_address.remove(&claim.address)?;
        self.by_mac.remove(&probe.mac);
        let waiting = probe.waiting;
        Some(Conflict { claim, waiting })
    }

    /// What is due now, in no order.
    pub fn due(&mut self, now: Duration) -> Vec<Due<T>> {
        let mut due = Vec::new();
        let is_over = |probe: &mut Probe<T>| now >= probe.started + WAIT;
        for (_, probe) in self.by_address.extract_if(|_, probe| is_over(probe)) {
            self.by_mac.remove(&probe.mac);
            due.push(Due::Free(probe.waiting));
        }
        for (address, probe) in &mut self.by_address {
            if now >= probe.next() {
                probe.asked += 1;
                due.push(Due::Ask(*address));
            }
        }
        due
    }

    /// When [`Probes::due`] has something to say next.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.by_address.values().map(Probe::next).min()
    }
}

impl<T> Probe<T> {
    fn next(&self) -> Duration {
        if self.asked < QUESTIONS {
            self.started + WAIT / QUESTIONS * self.asked
        } else {
            self.started + WAIT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 0xff]);

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn claim(m: Mac, last: u8) -> Claim {
        Claim {
            mac: m,
            address: address(last),
        }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn asked_twice_then_free() {
        let mut probes = Probes::default();
        assert_eq!(probes.next(), None);
        assert_eq!(
            probes.start(mac(1), address(5), 'a', ms(1000)),
            Start::Waits
        );
        assert_eq!(probes.next(), Some(ms(1000)));
        assert_eq!(probes.due(ms(1000)), [Due::Ask(address(5))]);
        assert_eq!(probes.due(ms(1000)), []);
        assert_eq!(probes.next(), Some(ms(1150)));
        assert_eq!(probes.due(ms(1150)), [Due::Ask(address(5))]);
        assert_eq!(probes.due(ms(1299)), []);
        assert_eq!(probes.next(), Some(ms(1300)));
        assert_eq!(probes.due(ms(1300)), [Due::Free('a')]);
        assert_eq!(probes.next(), None);
        assert_eq!(probes.again(mac(1), 'b'), Some('b'), "it waits no more");
    }

    #[test]
    fn a_repeated_question_changes_the_packet_not_the_wait() {
        let mut probes = Probes::default();
        assert_eq!(probes.start(mac(1), address(5), 'a', ms(0)), Start::Waits);
        assert_eq!(probes.due(ms(0)), [Due::Ask(address(5))]);
        assert_eq!(probes.again(mac(2), 'x'), Some('x'), "another machine");
        assert_eq!(probes.again(mac(1), 'b'), None);
        assert_eq!(probes.due(ms(100)), []);
        assert_eq!(probes.due(WAIT), [Due::Free('b')]);
    }

    #[test]
    fn who_conflicts() {
        for (who, want) in [(mac(2), true), (mac(1), false), (OWN, false)] {
            let mut probes = Probes::default();
            assert_eq!(probes.start(mac(1), address(5), 'a', ms(0)), Start::Waits);
            assert_eq!(probes.heard(claim(who, 6), OWN), None, "another address");
            let conflict = probes.heard(claim(who, 5), OWN);
            let claim = claim(who, 5);
            assert_eq!(
                conflict,
                want.then_some(Conflict {
                    claim,
                    waiting: 'a'
                })
            );
            assert_eq!(probes.next().is_none(), want);
        }
    }

    #[test]
    fn a_machine_that_wants_another_address_gives_up_the_first() {
        let mut probes = Probes::default();
        assert_eq!(probes.start(mac(1), address(5), 'a', ms(0)), Start::Waits);
        assert_eq!(probes.start(mac(1), address(6), 'b', ms(0)), Start::Waits);
        assert_eq!(probes.start(mac(2), address(5), 'c', ms(0)), Start::Waits);
        probes.stop(mac(1));
        assert_eq!(probes.due(WAIT), [Due::Free('c')]);
    }

    #[test]
    fn more_than_can_wait_do_not() {
        let mut probes = Probes::default();
        let many = u16::try_from(MAX_PROBES).expect("fits");
        let station = |i: u16| {
            let [high, low] = i.to_be_bytes();
            (
                Mac([2, 0, 0, 0, high, low]),
                Ipv4Addr::new(10, 0, high, low),
            )
        };
        for i in 0..many {
            let (mac, address) = station(i);
            assert_eq!(probes.start(mac, address, i, ms(0)), Start::Waits);
        }
        let (mac, address) = station(many);
        assert_eq!(probes.start(mac, address, many, ms(0)), Start::Full(many));
        assert_eq!(probes.due(ms(0)).len(), MAX_PROBES);
        assert_eq!(probes.due(WAIT).len(), MAX_PROBES);
    }

    proptest! {
        /// Whatever comes in whatever order: who waits gets exactly one end, within the time.
        #[test]
        fn everybody_is_answered(steps in prop::collection::vec((0_u8..4, 0_u8..6, 0_u8..6, 0_u64..120), 0..200)) {
            let mut probes = Probes::default();
            let mut now = Duration::ZERO;
            for (what, m, a, wait) in steps {
                now += ms(wait);
                match what {
                    0 => drop(probes.start(mac(m), address(a), m, now)),
                    1 => drop(probes.heard(claim(mac(m), a), OWN)),
                    2 => probes.stop(mac(m)),
                    _ => drop(probes.due(now)),
                }
                prop_assert_eq!(probes.by_mac.len(), probes.by_address.len());
                for (address, probe) in &probes.by_address {
                    prop_assert_eq!(probes.by_mac[&probe.mac], *address);
                    prop_assert_eq!(probe.mac, mac(probe.waiting));
                }
            }
            let waiting = probes.by_address.len();
            let free = probes.due(now + WAIT);
            prop_assert_eq!(free.iter().filter(|due| matches!(due, Due::Free(_))).count(), waiting);
            prop_assert_eq!(probes.next(), None);
        }
    }
}

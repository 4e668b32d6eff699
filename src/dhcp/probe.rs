//! Addresses that are being looked for before they are offered: who waits for which, since when, and what was heard.
//!
//! Values in, values out: a shell sends what [`Probes::due`] says and hands in what it hears. Many machines wait at
//! once, each for an address of its own; nobody waits behind another.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_wire::Mac;

use super::arp::Claim;

/// By ARP, from the first question to the offer. A station on a LAN answers within 10 ms, a sleeping Wi-Fi bridge within 100 ms;
/// the client is patient longer: iPXE asks again after 1 s, EDK2 after 4 s, a Pi after 4 to 5 s. RFC 5227 takes 5 to 9 s,
/// since a host that probes for itself may be on a link that is only coming up; the manager's is not.
pub const WAIT: Duration = Duration::from_millis(300);

/// By ICMP, behind a relay: there may be a long line between, and the router there asks by ARP first and may throw away what
/// it has no address for yet. ISC's dhcpd waits as long.
pub const ECHO_WAIT: Duration = Duration::from_secs(1);

/// Machines that wait at once: two racks switched on together. Others are not answered until there is room, and ask again.
pub const MAX_PROBES: usize = 2048;

/// Those of them that may be strangers: machines that only exist in packets do not keep known ones from being answered.
const MAX_STRANGERS: usize = MAX_PROBES / 4 * 3;

/// How somebody is asked whether he has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By ARP, on this link; the answer says who.
    Arp,
    /// By an ICMP echo request (RFC 792), behind a relay; the answer says only that somebody has it.
    Echo,
}

impl Way {
    const fn wait(self) -> Duration {
        match self {
            Self::Arp => WAIT,
            Self::Echo => ECHO_WAIT,
        }
    }

    /// So often is asked: one question may be lost, of two routers each the first.
    const fn questions(self) -> u32 {
        match self {
            Self::Arp => 2,
            Self::Echo => 3,
        }
    }
}

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
    wish: Wish<T>,
    started: Duration,
    asked: u32,
}

/// A machine wants an address that has to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish<T> {
    /// Who.
    pub mac: Mac,
    /// Which.
    pub address: Ipv4Addr,
    /// How it is looked for.
    pub way: Way,
    /// It is no stranger.
    pub known: bool,
    /// The machine that had the address before, as far as is known.
    pub before: Option<Mac>,
    /// What waits.
    pub waiting: T,
}

/// What to do with a request that needs a probe.
#[derive(Debug, PartialEq, Eq)]
pub enum Start<T> {
    /// Wait for [`Probes::due`].
    Waits,
    /// Too many wait.
    Full(T),
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due<T> {
    /// Send a probe for this address.
    Ask(Way, Ipv4Addr),
    /// Nobody has it: send what waited.
    Free(T),
}

/// Somebody has the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict<T> {
    /// Who, if he said so.
    pub who: Option<Mac>,
    /// For whom it was, and which.
    pub wish: Wish<T>,
}

impl<T> Probes<T> {
    /// A machine that waits asks again. If it is the same question, it waits with this packet from now on: that has the
    /// transaction id it listens for, and the wait is as long as before. Another question ends the wait. Handed back if it
    /// does not wait.
    pub fn again(&mut self, mac: Mac, waiting: T, is_same: impl Fn(&T, &T) -> bool) -> Option<T> {
        let address = self.by_mac.get(&mac);
        let probe = address.and_then(|address| self.by_address.get_mut(address));
        match probe {
            Some(probe) if is_same(&probe.wish.waiting, &waiting) => {
                probe.wish.waiting = waiting;
                None
            }
            _ => {
                self.stop(mac);
                Some(waiting)
            }
        }
    }

    /// A machine waits for an address from now on, and for no other. If another waited for that address, it does not any more:
    /// it asks again.
    pub fn start(&mut self, wish: Wish<T>, now: Duration) -> Start<T> {
        self.stop(wish.mac);
        if let Some(other) = self.by_address.get(&wish.address) {
            self.stop(other.wish.mac);
        }
        let room = if wish.known {
            MAX_PROBES
        } else {
            MAX_STRANGERS
        };
        if self.by_address.len() >= room {
            return Start::Full(wish.waiting);
        }
        self.by_mac.insert(wish.mac, wish.address);
        self.by_address.insert(
            wish.address,
            Probe {
                wish,
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
        if claim.mac == probe.wish.mac || claim.mac == own {
            return None;
        }
        self.conflict(claim.address, Some(claim.mac))
    }

    /// Somebody answered an echo request.
    pub fn echoed(&mut self, address: Ipv4Addr) -> Option<Conflict<T>> {
        let probe = self.by_address.get(&address)?;
        if probe.wish.way != Way::Echo {
            return None;
        }
        self.conflict(address, None)
    }

    fn conflict(&mut self, address: Ipv4Addr, who: Option<Mac>) -> Option<Conflict<T>> {
        let wish = self.by_address.remove(&address)?.wish;
        self.by_mac.remove(&wish.mac);
        Some(Conflict { who, wish })
    }

    /// What is due now, in no order.
    pub fn due(&mut self, now: Duration) -> Vec<Due<T>> {
        let mut due = Vec::new();
        let is_over = |probe: &mut Probe<T>| now >= probe.started + probe.wish.way.wait();
        for (_, probe) in self.by_address.extract_if(|_, probe| is_over(probe)) {
            self.by_mac.remove(&probe.wish.mac);
            due.push(Due::Free(probe.wish.waiting));
        }
        for (address, probe) in &mut self.by_address {
            if now >= probe.next() {
                probe.asked += 1;
                due.push(Due::Ask(probe.wish.way, *address));
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
        let way = self.wish.way;
        if self.asked < way.questions() {
            self.started + way.wait() / way.questions() * self.asked
        } else {
            self.started + way.wait()
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

    fn wish<T>(mac: Mac, address: Ipv4Addr, waiting: T) -> Wish<T> {
        Wish {
            mac,
            address,
            way: Way::Arp,
            known: true,
            before: None,
            waiting,
        }
    }

    fn echo<T>(mac: Mac, address: Ipv4Addr, waiting: T) -> Wish<T> {
        Wish {
            way: Way::Echo,
            before: Some(Mac([2, 0, 0, 0, 0, 77])),
            ..wish(mac, address, waiting)
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
            probes.start(wish(mac(1), address(5), 'a'), ms(1000)),
            Start::Waits
        );
        assert_eq!(probes.next(), Some(ms(1000)));
        assert_eq!(probes.due(ms(1000)), [Due::Ask(Way::Arp, address(5))]);
        assert_eq!(probes.due(ms(1000)), []);
        assert_eq!(probes.next(), Some(ms(1150)));
        assert_eq!(probes.due(ms(1150)), [Due::Ask(Way::Arp, address(5))]);
        assert_eq!(probes.due(ms(1299)), []);
        assert_eq!(probes.next(), Some(ms(1300)));
        assert_eq!(probes.due(ms(1300)), [Due::Free('a')]);
        assert_eq!(probes.next(), None);
        let again = probes.again(mac(1), 'b', |_, _| true);
        assert_eq!(again, Some('b'), "it waits no more");
    }

    #[test]
    fn a_repeated_question_changes_the_packet_not_the_wait() {
        let mut probes = Probes::default();
        assert_eq!(
            probes.start(wish(mac(1), address(5), 'a'), ms(0)),
            Start::Waits
        );
        assert_eq!(probes.due(ms(0)), [Due::Ask(Way::Arp, address(5))]);
        let again = probes.again(mac(2), 'x', |_, _| true);
        assert_eq!(again, Some('x'), "another machine");
        assert_eq!(probes.again(mac(1), 'b', |_, _| true), None);
        assert_eq!(probes.due(ms(100)), []);
        assert_eq!(probes.due(WAIT), [Due::Free('b')]);
        assert_eq!(
            probes.start(wish(mac(1), address(5), 'a'), ms(0)),
            Start::Waits
        );
        let again = probes.again(mac(1), 'c', |_, _| false);
        assert_eq!(again, Some('c'), "another question");
        assert_eq!(probes.next(), None);
    }

    #[test]
    fn who_conflicts() {
        for (who, want) in [(mac(2), true), (mac(1), false), (OWN, false)] {
            let mut probes = Probes::default();
            assert_eq!(
                probes.start(wish(mac(1), address(5), 'a'), ms(0)),
                Start::Waits
            );
            assert_eq!(probes.heard(claim(who, 6), OWN), None, "another address");
            let conflict = probes.heard(claim(who, 5), OWN);
            assert_eq!(
                conflict,
                want.then_some(Conflict {
                    who: Some(who),
                    wish: wish(mac(1), address(5), 'a'),
                })
            );
            assert_eq!(probes.next().is_none(), want);
        }
    }

    #[test]
    fn a_machine_that_wants_another_address_gives_up_the_first() {
        let mut probes = Probes::default();
        assert_eq!(
            probes.start(wish(mac(1), address(5), 'a'), ms(0)),
            Start::Waits
        );
        assert_eq!(
            probes.start(wish(mac(1), address(6), 'b'), ms(0)),
            Start::Waits
        );
        assert_eq!(
            probes.start(wish(mac(2), address(5), 'c'), ms(0)),
            Start::Waits
        );
        probes.stop(mac(1));
        assert_eq!(probes.due(WAIT), [Due::Free('c')]);
    }

    #[test]
    fn an_echo_says_that_somebody_is_there_and_is_waited_for_longer() {
        let mut probes = Probes::default();
        let asked = [Due::Ask(Way::Echo, address(5))];
        let wish = echo(mac(1), address(5), 'a');
        assert_eq!(probes.start(wish.clone(), ms(0)), Start::Waits);
        for at in [0, 334, 667] {
            assert_eq!(probes.due(ms(at)), asked, "{at}");
        }
        assert_eq!(probes.due(ms(999)), []);
        assert_eq!(probes.echoed(address(6)), None);
        let conflict = Conflict { who: None, wish };
        assert_eq!(probes.echoed(address(5)), Some(conflict));
        assert_eq!(
            probes.start(echo(mac(1), address(5), 'b'), ms(0)),
            Start::Waits
        );
        assert_eq!(probes.due(ECHO_WAIT), [Due::Free('b')]);
        let on_this_link = Wish {
            way: Way::Arp,
            ..echo(mac(1), address(5), 'c')
        };
        assert_eq!(probes.start(on_this_link, ms(0)), Start::Waits);
        assert_eq!(probes.echoed(address(5)), None, "nobody asked so");
    }

    #[test]
    fn strangers_leave_room_for_known_machines() {
        let mut probes = Probes::default();
        let station = |i: u16| {
            let [high, low] = i.to_be_bytes();
            let mac = Mac([2, 0, 0, 0, high, low]);
            wish(mac, Ipv4Addr::new(10, 0, high, low), i)
        };
        let mut waits = 0;
        for i in 0..4096 {
            let stranger = Wish {
                known: false,
                ..station(i)
            };
            waits += usize::from(probes.start(stranger, ms(0)) == Start::Waits);
        }
        assert_eq!(waits, MAX_STRANGERS);
        assert_eq!(probes.start(station(5000), ms(0)), Start::Waits);
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
            assert_eq!(probes.start(wish(mac, address, i), ms(0)), Start::Waits);
        }
        let (mac, address) = station(many);
        assert_eq!(
            probes.start(wish(mac, address, many), ms(0)),
            Start::Full(many)
        );
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
                    0 => drop(probes.start(wish(mac(m), address(a), m), now)),
                    1 => drop(probes.heard(claim(mac(m), a), OWN)),
                    2 => probes.stop(mac(m)),
                    _ => drop(probes.due(now)),
                }
                prop_assert_eq!(probes.by_mac.len(), probes.by_address.len());
                for (address, probe) in &probes.by_address {
                    prop_assert_eq!(probes.by_mac[&probe.wish.mac], *address);
                    prop_assert_eq!(probe.wish.mac, mac(probe.wish.waiting));
                }
            }
            let waiting = probes.by_address.len();
            let free = probes.due(now + WAIT);
            prop_assert_eq!(free.iter().filter(|due| matches!(due, Due::Free(_))).count(), waiting);
            prop_assert_eq!(probes.next(), None);
        }
    }
}

//! Which MAC is behind an address: the kernel's own ARP table, as it has just talked to that machine.
//!
//! It needs no memory of DHCP, so it holds after a manager's restart, and beside another DHCP server. Behind a router
//! it is the router's MAC.

use std::net::Ipv4Addr;

use ramboot_wire::Mac;

/// RFC 826's table, as `proc(5)` has it. Below `self`, for /proc/net is not there under systemd's ProcSubset=pid.
const TABLE: &str = "/proc/self/net/arp";

/// ATF_COM: the entry is complete.
const COMPLETE: u32 = 0x2;

/// The MAC of the machine that has `address`, if it is on a network of ours and was heard of.
#[must_use]
pub fn mac_of(address: Ipv4Addr) -> Option<Mac> {
    find(&std::fs::read_to_string(TABLE).ok()?, address)
}

/// Columns: address, hardware type, flags, hardware address, mask, device.
fn find(table: &str, address: Ipv4Addr) -> Option<Mac> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let found: Ipv4Addr = words.next()?.parse().ok()?;
        let _hardware_type = words.next()?;
        let flags = u32::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        let mac = words.next()?.parse().ok()?;
        (found == address && flags & COMPLETE != 0).then_some(mac)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_per_kind_of_line() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.2         0x1         0x2         52:54:00:12:34:56     *        eth0\n\
                     10.0.0.3         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     rubbish\n\
                     10.0.0.4         0x1         0x6         dc:a6:32:01:02:03     *        eth0\n";
        for (last, want) in [
            (2, Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]))),
            (3, None),
            (4, Some(Mac([0xdc, 0xa6, 0x32, 1, 2, 3]))),
            (5, None),
        ] {
            assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, last)), want, "{last}");
        }
    }
}

//! What the kernel lost or sent again on both ends of the cable: what looks like a slow manager may be this.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

/// Counters that stay at zero on a good day. `Softnet` is `net.core.netdev_max_backlog` reached, of the whole machine.
const COUNTERS: [&str; 10] = [
    "ListenDrops",
    "ListenOverflows",
    "PruneCalled",
    "RcvPruned",
    "TCPBacklogDrop",
    "TCPMemoryPressures",
    "TCPRcvQDrop",
    "TCPSynRetrans",
    "TCPTimeouts",
    "RcvbufErrors",
];

/// Counters by name, of the network namespaces of these processes together.
pub(super) fn counters(pids: &[u32]) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut sums = BTreeMap::new();
    for pid in pids {
        for file in ["netstat", "snmp"] {
            let path = format!("/proc/{pid}/net/{file}");
            let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
            add(&mut sums, &text);
        }
    }
    let softnet = fs::read_to_string("/proc/net/softnet_stat").context("reading softnet_stat")?;
    let dropped = softnet.lines().filter_map(|line| line.split(' ').nth(1));
    let dropped = dropped.filter_map(|column| u64::from_str_radix(column, 16).ok());
    sums.insert("Softnet".to_owned(), dropped.sum());
    Ok(sums)
}

/// Lines in pairs: names, then values.
fn add(sums: &mut BTreeMap<String, u64>, text: &str) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let columns = names.split(' ').zip(values.split(' '));
        for (name, value) in columns.filter(|(name, _)| COUNTERS.contains(name)) {
            *sums.entry(name.to_owned()).or_default() += value.parse().unwrap_or(0);
        }
    }
}

/// What rose between two readings, in words.
pub(super) fn risen(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let rise = |(name, after): (&String, &u64)| {
        let rise = after.saturating_sub(before.get(name).copied().unwrap_or(0));
        (rise > 0).then(|| format!("{name} {rise}"))
    };
    let risen: Vec<String> = after.iter().filter_map(rise).collect();
    if risen.is_empty() {
        "nothing lost".to_owned()
    } else {
        risen.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rose() {
        let read = |text| {
            let mut sums = BTreeMap::new();
            add(&mut sums, text);
            sums
        };
        let before = read("TcpExt: ListenDrops TCPTimeouts Other\nTcpExt: 1 2 3\n");
        let after = read(
            "TcpExt: ListenDrops TCPTimeouts Other\nTcpExt: 1 7 9\nUdp: x RcvbufErrors\nUdp: 1 4\n",
        );
        assert_eq!(risen(&before, &after), "RcvbufErrors 4, TCPTimeouts 5");
        assert_eq!(risen(&after, &after), "nothing lost");
    }
}

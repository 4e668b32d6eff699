//! An image's own network manager, restarted under the root that comes over its link, in the ways it offers.

use anyhow::{Context, Result, ensure};

use self::Restart::{Cuts, Turns};
use super::debian::{is_tethered, no_trouble};
use crate::BOOT;
use crate::machine::Worker;

/// A network manager of the image.
pub(super) struct Kind {
    /// What starts it.
    pub(super) unit: &'static str,
    /// One after another.
    restarts: &'static [Restart],
}

/// What sets the link anew or restarts its manager.
enum Restart {
    /// The way to the rest of the image is gone meanwhile: the link is down, or has no address.
    Cuts(&'static str),
    /// It may stay.
    Turns(&'static str),
}

/// As the machines are numbered: the first two, and one of each of the others.
pub(super) const KINDS: [Kind; 5] = [
    Kind {
        unit: "systemd-networkd.service",
        restarts: &[],
    },
    Kind {
        unit: "systemd-networkd.service",
        restarts: &[
            Cuts("networkctl reconfigure LINK"),
            Cuts("ip link set LINK down; ip link set LINK up"),
            Turns("systemctl restart systemd-networkd"),
            Turns("systemctl daemon-reexec"),
            Turns("systemctl isolate multi-user.target"),
        ],
    },
    Kind {
        unit: "NetworkManager.service",
        restarts: &[
            Cuts(
                "nm-online -q -s -t 100 && nmcli connection down ramboot && nmcli connection up ramboot",
            ),
            Turns("systemctl restart NetworkManager && nm-online -q -s -t 100"),
        ],
    },
    Kind {
        unit: "networking.service",
        restarts: &[
            Cuts("ip address flush dev LINK; ifdown --force LINK; ifup LINK=ramboot"),
            Turns("systemctl restart networking"),
        ],
    },
    Kind {
        unit: "dhcpcd.service",
        restarts: &[
            Cuts("ip link set LINK down; ip link set LINK up"),
            Turns("dhcpcd --rebind LINK"),
            Turns("systemctl restart dhcpcd"),
        ],
    },
];

/// Writes down what becomes of links and addresses, from when it has seen an address come on.
const WATCH: &str = "ip -oneline monitor link address >/run/changes 2>&1 & watch=$!; until [ -s /run/changes ]; do \
    ip address add 127.9.9.8/32 dev lo; ip address delete 127.9.9.8/32 dev lo; sleep 0.1; done";
/// What it wrote, after an address that comes and goes: who watches nothing does not see that, either.
const WATCHED: &str = "ip address add 127.9.9.9/32 dev lo && ip address delete 127.9.9.9/32 dev lo && \
    until grep -q 'Deleted.* 127.9.9.9/32' /run/changes; do sleep 0.1; done; kill $watch; cat /run/changes";

/// The image's own network manager does it, and all is as before: nobody waits for what the link was to bring.
pub(super) fn restarts(worker: &mut Worker, kind: &Kind) -> Result<()> {
    let console = &mut worker.console;
    let link = console.run("cd /sys/class/net; echo e*")?;
    let state = console.run(&format!("systemctl is-active {}", kind.unit))?;
    ensure!(state == "active", "{} is {state}", kind.unit);
    // Without how it was set: NetworkManager's is one without a route.
    let show = format!("ip -4 -oneline address show dev {link} | tr -s ' ' | cut -d ' ' -f 4");
    let before = console.run(&show)?;
    for restart in kind.restarts {
        console.run(WATCH)?;
        let (Cuts(command) | Turns(command)) = restart;
        console.run_within(&command.replace("LINK", &link), BOOT)?;
        ensure!(is_tethered(console)?, "too late for {command:?}");
        let changes = console.run(WATCHED)?;
        let away = changes
            .lines()
            .filter(|line| line.contains(&format!(" {link}")))
            .any(|line| line.contains(" state DOWN ") || is_deleted(line, &before));
        println!("{command}: the way to the image was away: {away}");
        ensure!(
            away || matches!(restart, Turns(_)),
            "{command:?} of {} did not cut the way to the image: {changes}",
            kind.unit
        );
    }
    // dhcpcd may take it away for a moment after its start was told.
    let back = format!("until [ \"$({show})\" = '{before}' ]; do sleep 0.2; done");
    console.run_within(&back, BOOT).with_context(|| {
        format!(
            "with {} its address was {before}, and is not again",
            kind.unit
        )
    })?;
    no_trouble(console)
}

/// A line of `ip monitor` that says that an address of these is gone.
fn is_deleted(line: &str, addresses: &str) -> bool {
    let gone = |address| line.contains(&format!(" inet {address} "));
    line.starts_with("Deleted ") && addresses.lines().any(gone)
}

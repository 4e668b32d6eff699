//! What another DHCP server on the network means. Pure.

use std::io;
use std::net::Ipv4Addr;

use crate::config::words::DhcpMode;
use crate::dhcp::rival::Rival;
use crate::host::interface::Interface;
use crate::verbs::doctor::finding::{Finding, Topic};

/// What other DHCP servers mean in each mode.
#[must_use]
pub(in crate::verbs::doctor) fn rivals(
    found: &io::Result<Option<Rival>>,
    mode: DhcpMode,
    interface: &Interface,
) -> Vec<Finding> {
    let (topic, name) = (Topic::Dhcp, &interface.name);
    let rival = match found {
        Ok(rival) => rival,
        Err(error) => {
            return vec![
                Finding::note(topic, "other", format!("whether another DHCP server is on {name} was not looked for: opening a packet socket: {error}"))
                    .with_remedy("sudo ramboot doctor"),
            ];
        }
    };
    let mut all = vec![match (rival, mode) {
        (None, DhcpMode::Full) => Finding::good(
            topic,
            "other",
            format!("no other DHCP server answers on {name}"),
        ),
        (None, DhcpMode::Proxy | DhcpMode::Off) => Finding::bad(
            topic,
            "other",
            format!(
                "no DHCP server answers on {name}, and ramboot gives no addresses in this mode ({}): machines get none",
                mode.word()
            ),
            format!(
                "switch the DHCP server of this network on, or let ramboot give addresses: --dhcp full{}",
                pool(interface)
            ),
        ),
        (Some(rival), DhcpMode::Full) => Finding::bad(
            topic,
            "other",
            format!(
                "another DHCP server answers on {name}: {rival}; two may give one address to two machines"
            ),
            "stop it, or serve beside it: --dhcp proxy",
        ),
        (Some(rival), DhcpMode::Proxy) => Finding::good(
            topic,
            "other",
            format!(
                "{} gives addresses on {name} (it offered {}), ramboot says what to boot",
                rival.server, rival.offered
            ),
        ),
        (Some(rival), DhcpMode::Off) => Finding::good(
            topic,
            "other",
            format!(
                "{} gives addresses on {name} (it offered {})",
                rival.server, rival.offered
            ),
        ),
    }];
    if let Some(Rival {
        server,
        boots: Some(boots),
        ..
    }) = rival
        && mode != DhcpMode::Off
    {
        all.push(Finding::warning(
            topic,
            "other-boots",
            format!("{server} itself tells machines to boot {boots}: some firmware takes that and never asks ramboot"),
            "take next-server, options 66 and 67 out of that server's config",
        ));
    }
    all
}

/// A hundred addresses in the interface's own network, where it has so many.
fn pool(interface: &Interface) -> String {
    if interface.prefix_len > 24 {
        return " --pool FIRST-LAST".to_owned();
    }
    let [a, b, c, _] = interface.address.octets();
    let address = |last| Ipv4Addr::new(a, b, c, last);
    format!(" --pool {}-{}", address(100), address(199))
}

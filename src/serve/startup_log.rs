//! What the manager says of itself: in the log when it starts, and to `systemctl status` while it runs. Pure.

use std::path::Path;

use crate::config::Config;
use crate::config::DEFAULT_STATE;
use crate::config::words::DhcpMode;
use crate::control::{FOLDER, Served};
use crate::host::interface::Interface;
use crate::store::{Generation, Name};

use super::sockets::TFTP_PORT;

/// What is published: each name with what it stands for.
pub(super) type Published = [(Name, Generation)];

/// One line an interface.
pub(super) fn serving(config: &Config, interfaces: &[Interface]) -> Vec<String> {
    let mode = match config.dhcp.mode {
        DhcpMode::Proxy => "proxyDHCP beside the DHCP server that is there",
        DhcpMode::Full => "DHCP",
        DhcpMode::Off => "no DHCP",
    };
    let line = |one: &Interface| {
        format!(
            "serving on {} {}: {mode}, TFTP {TFTP_PORT}, HTTP {}",
            one.name, one.address, config.http_port
        )
    };
    interfaces.iter().map(line).collect()
}

/// What machines boot or, where nothing is published yet, what to do next.
pub(super) fn images(
    published: &Published,
    config: &Config,
    interfaces: &[Interface],
    (state, run_dir): (&Path, Option<&Path>),
) -> Vec<String> {
    if !published.is_empty() {
        let line = |(name, generation): &(Name, Generation)| {
            format!(
                "image {name}: {}, {} MB, kernel {}",
                generation.image.short(),
                generation.size / 1_000_000,
                generation.kernel_version
            )
        };
        return published.iter().map(line).collect();
    }
    let (state, home) = if state == Path::new(DEFAULT_STATE) {
        (String::new(), "sudo ".to_owned())
    } else {
        (format!(" --state {}", state.display()), String::new())
    };
    let mut lines = vec![
        "no image is published yet: ramboot publish IMAGE, and machines that wait boot it. Next, in another terminal:".to_owned(),
        "  1. ramboot build SOURCE -o image.sqfs --fix    a folder, a tar, a container or disk image becomes an image".to_owned(),
        format!("  2. {home}ramboot publish image.sqfs{state}    no restart, each boot from then on gets it"),
    ];
    for (n, one) in interfaces.iter().enumerate() {
        let step = if n == 0 { "3." } else { "  " };
        let (name, address, port) = (&one.name, one.address, config.http_port);
        lines.push(if config.dhcp.mode == DhcpMode::Off {
            format!("  {step} let your DHCP server send machines to TFTP {address}, and switch one on; images come from http://{address}:{port}")
        } else {
            format!("  {step} switch a machine on that boots from the network ({name}); it fetches from http://{address}:{port}")
        });
    }
    // It asks this manager where all else is.
    let door = run_dir.filter(|folder| *folder != Path::new(FOLDER));
    let door = door.map_or_else(String::new, |folder| {
        format!(" --run-dir {}", folder.display())
    });
    lines.push(format!(
        "  before that, sudo ramboot doctor{door} says what a machine would get"
    ));
    lines
}

/// For `systemctl status`.
pub(super) fn status(served: &[Served], images: usize, workers: usize) -> String {
    let of = |count: usize, what: &str| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {what}{s}")
    };
    let images = match images {
        0 => "no image is published yet".to_owned(),
        count => of(count, "image"),
    };
    let seen = format!("{} seen", of(workers, "worker"));
    let mut status = [of(served.len(), "interface"), images, seen].join(", ");
    for trouble in served.iter().filter_map(|one| one.trouble.as_deref()) {
        status += "; ";
        status += trouble;
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan0() -> Interface {
        Interface {
            name: "lan0".to_owned(),
            index: 2,
            address: [10, 9, 8, 1].into(),
            prefix_len: 24,
            mac: None,
        }
    }

    fn served(trouble: Option<&str>) -> Served {
        Served {
            name: "lan0".to_owned(),
            address: [10, 9, 8, 1].into(),
            prefix_len: 24,
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn the_next_commands_are_those_of_this_machine() {
        let lines = |state: &str, config: &str| {
            let config = Config::parse(config).expect("a config");
            let door = (state != DEFAULT_STATE).then_some(Path::new("/srv/run"));
            images(&[], &config, &[lan0()], (Path::new(state), door)).join("\n")
        };
        let usual = lines(DEFAULT_STATE, "");
        assert!(usual.starts_with("no image is published yet: ramboot publish IMAGE"));
        assert!(usual.contains("  2. sudo ramboot publish image.sqfs    no restart"));
        assert!(usual.contains("network (lan0); it fetches from http://10.9.8.1:8067"));
        assert!(usual.contains("before that, sudo ramboot doctor says"));
        let own = lines("/srv/boot", "[dhcp]\nmode = \"off\"\n[http]\nport = 80");
        assert!(own.contains("  2. ramboot publish image.sqfs --state /srv/boot    no"));
        assert!(
            own.contains("TFTP 10.9.8.1, and switch one on; images come from http://10.9.8.1:80")
        );
        assert!(own.contains("sudo ramboot doctor --run-dir /srv/run says"));
    }

    #[test]
    fn one_sentence_for_systemctl_status() {
        for (counts, want) in [
            ((2, 3, 14), "2 interfaces, 3 images, 14 workers seen"),
            ((1, 1, 1), "1 interface, 1 image, 1 worker seen"),
            (
                (1, 0, 0),
                "1 interface, no image is published yet, 0 workers seen",
            ),
        ] {
            let (interfaces, images, workers) = counts;
            let served = vec![served(None); interfaces];
            assert_eq!(status(&served, images, workers), want);
        }
        let away = "interface lan0 is away (it is down)";
        assert_eq!(
            status(&[served(Some(away))], 1, 0),
            format!("1 interface, 1 image, 0 workers seen; {away}")
        );
    }
}

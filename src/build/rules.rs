//! What works on a disk and would stop or spoil a machine whose root is in RAM, and how it is switched off.
//!
//! Each rule looks at entries as they pass and is one row or one small function:
//!
//! | rule | where | why |
//! |---|---|---|
//! | `fstab` | `/etc/fstab` | a file system that is not there stops the boot; see [`table`] |
//! | `crypttab` | `/etc/crypttab` | likewise |
//! | `unit` | links in `*.wants/`, `*.requires/` and `/etc/rc?.d/` | see [`UNITS`] |
//! | `cloud-init` | its generator | asks the network for data that nobody gives it, and grows a disk |
//! | `initramfs` | `/boot` | no worker reads it, and each would fetch it and keep it in RAM; see [`initramfs`] |
//!
//! Always left out, since no machine wants it: what marks a container ([`containers`]).
//!
//! Looked at and left alone, for they do no harm: `init=…/init_resize.sh`, `init=…/firstboot` and `resize` in `cmdline.txt`
//! (ramboot writes the kernel command line itself); `systemd-firstboot` (runs only without a machine-id, which each worker gets);
//! `sshswitch` (switches sshd on if `/boot/firmware/ssh` is there); `rpi-eeprom-update` (lays its file into `/boot/firmware`, which is in RAM);
//! `fake-hwclock`, `fstrim.timer`, `e2scrub` (find nothing to do); zram of any maker (it is RAM, too).

pub mod containers;
pub mod initramfs;
pub mod table;

use serde::Serialize;

/// A thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule.
    pub rule: &'static str,
    /// Where: a path with a leading slash, for a table also the line.
    pub place: String,
    /// What it would do, and what `--fix` does about it: one sentence.
    pub sentence: String,
    /// It is switched off in this image.
    pub fixed: bool,
}

/// A unit that must not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Its name; a script in `/etc/rc?.d` has the same without the ending.
    pub name: &'static str,
    /// What it would do, after its name.
    pub would: &'static str,
}

/// Units that harm, each with what it does to a machine that is new at every start.
pub const UNITS: [Unit; 6] = [
    Unit {
        // userconf-pi's userconfig.service: Type=oneshot on tty8, wanted by multi-user.target.
        name: "userconfig.service",
        would: "asks at the keyboard for a user's name and password, at every boot, and until then the boot does not end",
    },
    Unit {
        // pi-gen's and raspi-config's init script: resize2fs on what root= or findmnt says.
        name: "resize2fs_once.service",
        would: "grows the root partition; there is none, and it fails at every boot",
    },
    Unit {
        // raspberrypi-sys-mods: ConditionFirstBoot, but its Wants= starts systemd-growfs-root all the same.
        name: "rpi-resize.service",
        would: "grows the root partition; there is none, and systemd-growfs-root fails at every boot",
    },
    Unit {
        name: "systemd-growfs-root.service",
        would: "grows the root file system; it is in RAM, and this fails at every boot",
    },
    Unit {
        // raspi-config's issue 220: swapon fails on an overlay, and the file stays.
        name: "dphys-swapfile.service",
        would: "writes a swap file of up to 2 GB, into RAM, which then cannot be used: swap does not work there",
    },
    Unit {
        // raspberrypi-sys-mods: rm -f /etc/ssh/ssh_host_*_key*, ssh-keygen -A.
        name: "regenerate_ssh_host_keys.service",
        would: "replaces the SSH host key that ramboot gives each machine, by a new one at every boot",
    },
];

/// Where cloud-init's generator lies, which starts it.
const CLOUD_INIT: [&str; 2] = [
    "usr/lib/systemd/system-generators/cloud-init-generator",
    "lib/systemd/system-generators/cloud-init-generator",
];
/// What keeps it from starting (cloud-init's documentation, "disable").
pub const CLOUD_INIT_DISABLED: &str = "etc/cloud/cloud-init.disabled";
/// Data that somebody laid into the image: then it is wanted.
const CLOUD_INIT_DATA: [&str; 3] = [
    "var/lib/cloud/seed/",
    "boot/firmware/user-data",
    "boot/user-data",
];

/// The unit that a link of this path starts, if it is one that must not.
#[must_use]
pub fn started(path: &str) -> Option<&'static Unit> {
    let (folder, name) = path.rsplit_once('/')?;
    if folder.ends_with(".wants") || folder.ends_with(".requires") {
        let known = folder.contains("systemd/system/");
        return UNITS.iter().find(|unit| known && unit.name == name);
    }
    // S01resize2fs_once; what begins with K stops it.
    let level = folder.strip_prefix("etc/rc")?.strip_suffix(".d")?;
    let script = name.strip_prefix('S')?.get(2..)?;
    let is_it = |unit: &&Unit| unit.name.strip_suffix(".service") == Some(script);
    UNITS.iter().find(is_it).filter(|_| level.len() == 1)
}

/// The finding for such a link.
#[must_use]
pub fn unit(path: &str, unit: &Unit, fix: bool) -> Finding {
    let does = if fix {
        "its link is left out"
    } else {
        "--fix leaves its link out"
    };
    Finding {
        rule: "unit",
        place: format!("/{path}"),
        sentence: format!("{} {}; {does}", unit.name, unit.would),
        fixed: fix,
    }
}

/// What is known of cloud-init.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloudInit {
    generator: Option<&'static str>,
    disabled: bool,
    has_data: bool,
}

impl CloudInit {
    /// Sees an entry pass.
    pub fn see(&mut self, path: &str) {
        if let Some(generator) = CLOUD_INIT.iter().find(|generator| path == **generator) {
            self.generator = Some(generator);
        }
        self.disabled |= path == CLOUD_INIT_DISABLED;
        self.has_data |= CLOUD_INIT_DATA
            .iter()
            .any(|data| match data.strip_suffix('/') {
                Some(_) => path.starts_with(data),
                None => path == *data,
            });
    }

    /// What all entries together say.
    #[must_use]
    pub fn finding(self, fix: bool) -> Option<Finding> {
        let generator = self
            .generator
            .filter(|_| !self.disabled && !self.has_data)?;
        let does = if fix { "makes" } else { "--fix makes" };
        Some(Finding {
            rule: "cloud-init",
            place: format!("/{generator}"),
            sentence: format!(
                "cloud-init would look for data on the network, for minutes if nobody answers, grow a disk that is not there, and make \
                 the machine another at every boot; {}{does} /{CLOUD_INIT_DISABLED}",
                if fix { "ramboot " } else { "" }
            ),
            fixed: fix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_starts_a_unit_is_known_by_its_folder() {
        for path in [
            "etc/systemd/system/multi-user.target.wants/userconfig.service",
            "usr/lib/systemd/system/sysinit.target.wants/userconfig.service",
            "lib/systemd/system/x.target.requires/userconfig.service",
        ] {
            assert_eq!(
                started(path).map(|unit| unit.name),
                Some("userconfig.service")
            );
        }
        let script = started("etc/rc3.d/S01resize2fs_once");
        assert_eq!(script.map(|unit| unit.name), Some("resize2fs_once.service"));
        for path in [
            "usr/lib/systemd/system/userconfig.service",
            "etc/systemd/system/multi-user.target.wants/ssh.service",
            "etc/systemd/user/default.target.wants/userconfig.service",
            "etc/rc3.d/K01resize2fs_once",
            "etc/init.d/resize2fs_once",
            "userconfig.service",
            "etc/rc3.d/S",
        ] {
            assert_eq!(started(path), None, "{path}");
        }
    }

    #[test]
    fn cloud_init_is_wanted_by_who_gave_it_data() {
        let seen = |paths: &[&str]| {
            let mut cloud_init = CloudInit::default();
            paths.iter().for_each(|path| cloud_init.see(path));
            cloud_init.finding(false)
        };
        let generator = "usr/lib/systemd/system-generators/cloud-init-generator";
        assert!(seen(&[generator]).is_some());
        assert!(seen(&[generator, "var/lib/cloud/seed"]).is_some());
        for quiet in [
            CLOUD_INIT_DISABLED,
            "var/lib/cloud/seed/nocloud",
            "boot/firmware/user-data",
        ] {
            assert_eq!(seen(&[generator, quiet]), None, "{quiet}");
        }
        assert_eq!(seen(&["etc/cloud/cloud.cfg"]), None);
    }
}

//! Keeps udev from a rename that the kernel refuses.
//!
//! Until Linux 6.2 a link that is up cannot be renamed, and the boot link is up. udev of systemd 252 (Debian 12) tries all
//! the same, fails, and leaves the link marked as being renamed; systemd-networkd then waits for the end of that for ever,
//! and systemd-networkd-wait-online for two minutes. So there the link keeps its name, which it would keep anyway; the name
//! udev had for it becomes an alternative one.

use super::{HandoverFile, Uplink};

/// The file, if this kernel (`uname -r`) wants it. It comes just before the image's `99-default.link`: any other rule wins.
#[must_use]
pub fn rule(uplink: &Uplink, release: &str) -> Option<HandoverFile> {
    if version(release)? >= (6, 2) {
        return None;
    }
    Some(HandoverFile {
        path: "/run/systemd/network/98-ramboot.link".to_owned(),
        mode: 0o644,
        content: format!(
            "# Made by ramboot's /init: this kernel renames no link that is up.\n\
             [Match]\n\
             MACAddress={}\n\
             Type=ether\n\n\
             [Link]\n\
             AlternativeNamesPolicy=database onboard slot path\n\
             MACAddressPolicy=none\n",
            uplink.mac
        ),
    })
}

/// `6.1` of `6.1.0-56-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramboot_wire::Mac;

    #[test]
    fn only_for_kernels_that_refuse() {
        let uplink = Uplink {
            names: vec!["eth0".to_owned()],
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        };
        for (release, wanted) in [
            ("6.1.0-56-amd64", true),
            ("5.15.0-1034-raspi", true),
            ("6.2", false),
            ("6.12.47+rpt-rpi-v8", false),
            ("10.0.1", false),
            ("", false),
            ("six", false),
        ] {
            assert_eq!(rule(&uplink, release).is_some(), wanted, "{release}");
        }
        let file = rule(&uplink, "6.1.0").expect("wanted");
        assert!(file.content.contains("\nMACAddress=52:54:00:12:34:56\n"));
        assert!(!file.content.contains("Name="), "{}", file.content);
    }
}

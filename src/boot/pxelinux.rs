//! The menu that U-Boot's `pxe get` fetches, `pxelinux.cfg/01-<mac>`: one entry, started at once. Pure text.
//!
//! Keywords are those of U-Boot's boot/pxe_utils.c; it asks by UUID first, then by MAC, and takes paths from the TFTP root.
//! Without `fdt` it hands its own device tree to the kernel.

use ramboot_wire::cmdline::CmdlineError;
use ramboot_wire::paths::Resource;
use ramboot_wire::{BootArgs, Mac};

use crate::config::words::cmdline_fault;

const FOLDER: &str = "pxelinux.cfg/";

/// Why no menu can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MenuError {
    /// The command line itself is not possible.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// U-Boot would not pass the command line on as it is.
    #[error("kernel command line: {0}")]
    Words(String),
}

/// The machine a menu is asked for, if `name` is the name of one: `pxelinux.cfg/01-52-54-00-12-34-56`.
#[must_use]
pub fn asked_by(name: &str) -> Option<Mac> {
    name.strip_prefix(FOLDER)?.strip_prefix("01-")?.parse().ok()
}

/// The menu that boots `args`, with the boot files `kernel` and `initrd` of its image and `extra` kernel parameters.
///
/// # Errors
/// Something would not arrive as it is.
pub fn menu(args: &BootArgs, kernel: &str, initrd: &str, extra: &str) -> Result<String, MenuError> {
    let cmdline = args.render(extra)?;
    // U-Boot expands `${…}` as iPXE does.
    if let Some(fault) = cmdline_fault(&cmdline) {
        return Err(MenuError::Words(fault));
    }
    let file = |name: &str| Resource::Boot(args.image, name.to_owned()).path();
    Ok(format!(
        "default ramboot
prompt 0
timeout 1
label ramboot
kernel {}
initrd {}
append {cmdline}
",
        file(kernel),
        file(initrd),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramboot_wire::ImageId;

    #[test]
    fn names_of_menus() {
        let mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        for (name, want) in [
            ("pxelinux.cfg/01-52-54-00-12-34-56", Some(mac)),
            ("pxelinux.cfg/52-54-00-12-34-56", None),
            ("pxelinux.cfg/default-arm-bcm283x", None),
            ("pxelinux.cfg/01-52-54-00-12-34", None),
            ("01-52-54-00-12-34-56", None),
        ] {
            assert_eq!(asked_by(name), want, "{name}");
        }
    }

    #[test]
    fn a_menu() {
        let id = ImageId([7; 32]);
        let args = BootArgs {
            image: id,
            size: 1000,
            bases: vec!["http://10.0.0.1:8067".parse().expect("a base")],
            overlay: None,
            tmpfs: Vec::new(),
            hostname: None,
            files: None,
            debug: false,
            heartbeat: true,
            deadline: None,
            bootif: Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])),
            streaming: None,
            boot: None,
        };
        assert_eq!(
            menu(&args, "vmlinuz-1", "initrd-1", "quiet").expect("a menu"),
            format!(
                "default ramboot
prompt 0
timeout 1
label ramboot
kernel /images/{id}/boot/vmlinuz-1
initrd /images/{id}/boot/initrd-1
append ramboot.image={id} ramboot.size=1000 ramboot.url=http://10.0.0.1:8067 BOOTIF=01-52-54-00-12-34-56 quiet
"
            )
        );
        menu(&args, "vmlinuz-1", "initrd-1", "a ${b}").expect_err("expanded by U-Boot");
        menu(&args, "vmlinuz-1", "initrd-1", "a\nkernel b").expect_err("two lines");
    }
}

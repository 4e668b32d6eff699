//! The one command that makes something readable of what is not read here.

use std::path::Path;

/// How the content of a partition, or of a whole image, can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// The kernel reads it.
    Mount,
    /// It is encrypted, and cryptsetup opens it.
    Luks,
    /// It is part of a volume group.
    Lvm,
    /// It is part of an array.
    Raid,
    /// It is a disk in a hypervisor's format.
    Convert,
    /// Linux is not installed on such.
    None,
}

/// The sentence for a partition that begins at a byte of an image; of 0, if it is the image.
pub(super) fn sentence(remedy: Remedy, image: &Path, start: u64, len: u64) -> String {
    let image = quoted(image);
    let part = match start {
        0 => String::new(),
        _ => format!(",offset={start},sizelimit={len}"),
    };
    let at = match start {
        0 => String::new(),
        _ => format!(" --offset {start} --sizelimit {len}"),
    };
    let build = "sudo ramboot build /mnt -o worker.sqfs";
    match remedy {
        Remedy::Mount => format!(
            "mount it and build from that folder: `sudo mount -o ro,loop{part} {image} /mnt && {build}`"
        ),
        Remedy::Luks => format!(
            "open it and build from the folder: `sudo cryptsetup open --readonly \"$(sudo losetup --find --show --read-only{at} \
             {image})\" root && sudo mount -o ro /dev/mapper/root /mnt && {build}`"
        ),
        Remedy::Lvm => format!(
            "activate its volumes with `sudo losetup --find --read-only{at} {image} && sudo vgchange --activate y && sudo lvs`, and \
             build from the root's: `sudo mount -o ro /dev/GROUP/VOLUME /mnt && {build}`"
        ),
        Remedy::Raid => format!(
            "assemble it with `sudo losetup --find --read-only{at} {image} && sudo mdadm --assemble --scan --readonly`, and build \
             from it: `sudo mount -o ro /dev/md/NAME /mnt && {build}`"
        ),
        Remedy::Convert => {
            format!("make a plain disk image of it: `qemu-img convert -O raw {image} disk.img`")
        }
        Remedy::None => TAR.to_owned(),
    }
}

/// Where nothing else helps.
pub(super) const TAR: &str = "start that system, make a tar of it (`tar --xattrs --one-file-system -C / -cf ROOT.tar .`) and build from that";

/// A path for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#!/bin/sh
# What the scripts of Debian's packages would do in an image whose programs cannot run here: arm64.sh ROOT.
set -eu
root=${1:?"usage: arm64.sh ROOT"}

install -m 644 "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
install -m 644 "$root/usr/share/base-passwd/group.master" "$root/etc/group"
install -d -m 700 "$root/root"

# A worker without screen, disk, radio and camera: most of a distribution kernel's modules are for these.
for modules in "$root"/lib/modules/*; do
    for part in sound drivers/ata drivers/bluetooth drivers/gpu drivers/hid drivers/iio drivers/infiniband \
        drivers/isdn drivers/md drivers/media drivers/mmc drivers/mtd drivers/net/can drivers/net/wireless drivers/nvme \
        drivers/scsi drivers/staging drivers/target drivers/video net/bluetooth net/mac80211 net/wireless \
        fs/btrfs fs/ceph fs/f2fs fs/gfs2 fs/jfs fs/nilfs2 fs/ocfs2 fs/reiserfs fs/smb fs/ubifs fs/xfs; do
        rm -rf "$modules/kernel/$part"
    done
    depmod --basedir "$root" "${modules##*/}"
done
# Boards without UEFI: of these the Raspberry Pi is known to boot from the network.
for boards in "$root"/usr/lib/linux-image-*; do
    find "$boards" -mindepth 1 -maxdepth 1 ! -name broadcom -exec rm -rf {} +
done
# Tools for initramfs and bootloader, which the kernel's package asks for and a worker never runs.
rm -rf "$root"/usr/share/initramfs-tools "$root"/usr/share/perl "$root"/usr/lib/klibc*

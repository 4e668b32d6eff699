#!/bin/sh
# The last steps of the disk: customize.sh ROOT OUT.
set -eu
root=${1:?"usage: customize.sh ROOT OUT"} out=$2

chroot "$root" passwd --quiet --lock root
chroot "$root" systemctl --quiet enable serial-getty@ttyS0.service

# An archive of what the package recommends and Debian's minimum has not, without a server.
chroot "$root" apt-get clean
chroot "$root" apt-get install --quiet=2 --yes --download-only ipxe systemd-boot-efi squashfs-tools squashfs-tools-ng >/dev/null
mkdir "$root/srv/debian"
mv "$root"/var/cache/apt/archives/*.deb "$root/srv/debian/"
for deb in "$root"/srv/debian/*.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "${deb##*/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done >"$root/srv/debian/Packages"
rm -rf "$root"/var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/debian ./' >"$root/etc/apt/sources.list"
rm -rf "$root"/etc/apt/sources.list.d/*
chroot "$root" apt-get update --quiet=2
: >"$root/etc/machine-id"

cp "$root"/boot/vmlinuz-* "$out/office.vmlinuz"
cp "$root"/boot/initrd.img-* "$out/office.initrd"
# mmdebstrap's own configuration leaves out what is recommended. It wants it back.
mkdir "$root.conf"
mv "$root"/etc/apt/apt.conf.d/*mmdebstrap "$root.conf/"
# Without what mmdebstrap has mounted below.
mkdir /tmp/ramboot-office-$$
mount --bind "$root" /tmp/ramboot-office-$$
mke2fs -q -t ext4 -L root -d /tmp/ramboot-office-$$ "$out/office.ext4.tmp" 2G
umount /tmp/ramboot-office-$$
rmdir /tmp/ramboot-office-$$
mv "$root.conf"/* "$root/etc/apt/apt.conf.d/"
rmdir "$root.conf"

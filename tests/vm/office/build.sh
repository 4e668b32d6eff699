#!/bin/bash
# A machine for the quick start to be tried on: a Debian 12 on a disk of 2 GB, as an office has one that shall become the
# manager. build.sh OUT makes OUT/office.ext4, office.vmlinuz and office.initrd. Not made again while the recipe is the same.
# What ramboot's package recommends lies in it as an archive for apt, since guests have no way out.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../../target/images}
mkdir -p "$out"
out=$(cd "$out" && pwd)
debian=$here/../../../images/debian/rootfs

recipe=$(tar -C "$here/../../.." -c --sort=name --owner=0 --group=0 --mode=u=rwX,go=rX --mtime=@0 tests/vm/office images/debian/rootfs |
    sha256sum | cut -d' ' -f1)
if [ -s "$out/office.ext4" ] && [ "$(cat "$out/office.recipe" 2>/dev/null)" = "$recipe" ]; then
    echo "$out/office.ext4 is up to date"
    exit 0
fi
rm -f "$out"/office.*
trap 'rm -f "$out/office.ext4.tmp"' EXIT

unpack() { # a folder into the new system, as root owns it
    echo "tar -C '$1' -c --owner=0 --group=0 --mode=u=rwX,go=rX . | tar -C \"\$1\" -x --no-overwrite-dir"
}

# shellcheck disable=SC2016 # "$1" is for the hooks: the folder that becomes the disk
mmdebstrap --quiet --variant=minbase --format=null \
    --include=linux-image-amd64,initramfs-tools,zstd,systemd-sysv,udev,dbus,kmod,ifupdown,isc-dhcp-client,iproute2,sudo,procps \
    --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="$(unpack "$here/rootfs")" \
    --customize-hook="$(unpack "$debian")" \
    --customize-hook="$(unpack "$here/rootfs")" \
    --customize-hook="'$here/customize.sh' \"\$1\" '$out'" \
    bookworm - ${MIRROR:+"$MIRROR"} >/dev/null

mv "$out/office.ext4.tmp" "$out/office.ext4"
echo "$recipe" >"$out/office.recipe"
echo "$out/office.ext4: $(($(du -B 1000000 "$out/office.ext4" | cut -f1))) MB"

#!/bin/bash
# Builds what run.sh measures against, from Debian's packages: peers.sh IMAGE.sqfs FOLDER makes FOLDER/dracut.img and
# FOLDER/busybox.img for the kernel in the image. Root is not needed, and nothing is installed on this machine.
set -euo pipefail

image=$(realpath "${1:?"usage: peers.sh IMAGE.sqfs FOLDER"}")
folder=${2:?"usage: peers.sh IMAGE.sqfs FOLDER"}
here=$(cd "$(dirname "$0")" && pwd)
suite=bookworm
# As Debian's dracut, dracut-network and dracut-live want them for a live image over HTTP, with systemd as Debian has it.
packages=dracut-core,dracut-network,dracut-live,curl,systemd-sysv,udev,kmod,dmsetup,zstd,iproute2,iputils-arping,isc-dhcp-client,procps

# Made before, by this very recipe, for this image's kernel?
recipe=$(cat "$here"/{peers.sh,busybox.sh,busybox-init,udhcpc-script} /bin/busybox "$image" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$folder/recipe" 2>/dev/null)" = "$recipe" ]; then
    exit 0
fi
mkdir -p "$folder"
rm -f "$folder"/{recipe,dracut.img,busybox.img}
folder=$(realpath "$folder")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The image's modules, whose kernel all three run.
unsquashfs -quiet -no-progress -no-xattrs -dest "$work/image" "$image" usr/lib/modules
modules=$work/image/usr/lib/modules
version=$(ls "$modules")

# dracut, in a Debian of its own, which is thrown away. --no-hostonly: for any machine, as a netboot initramfs has to be.
# shellcheck disable=SC2016 # "$1" is for the hooks
mmdebstrap --quiet --variant=minbase --include="$packages" --format=null \
    --aptopt='Acquire::Retries "5"' \
    --customize-hook="mkdir -p \"\$1/usr/lib/modules\" && cp -a '$modules/$version' \"\$1/usr/lib/modules/\"" \
    --customize-hook="chroot \"\$1\" dracut --quiet --no-hostonly --add 'network-legacy livenet dmsquash-live' \
        --kver '$version' /dracut.img" \
    --customize-hook="copy-out /dracut.img '$folder'" \
    "$suite" /dev/null

# busybox: the shortest script that boots the image, with the modules that this virtual machine needs.
"$here/busybox.sh" "$folder/busybox.img" "$here/busybox-init" "$work/image/usr" virtio_pci virtio_net loop squashfs overlay

echo "$recipe" >"$folder/recipe"

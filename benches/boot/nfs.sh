#!/bin/bash
# Makes what stream.sh needs for a root over NFS, from Debian's packages: nfs.sh IMAGE.sqfs FOLDER makes FOLDER/nfs.img for
# the kernel in the image, and FOLDER/ganesha, a Debian with NFS-Ganesha, which serves from user space: not every kernel has
# a server of its own. Nothing is installed on this machine.
set -euo pipefail

image=$(realpath "${1:?"usage: nfs.sh IMAGE.sqfs FOLDER"}")
folder=${2:?"usage: nfs.sh IMAGE.sqfs FOLDER"}
here=$(cd "$(dirname "$0")" && pwd)

recipe=$(cat "$here"/{nfs.sh,nfs-init,busybox.sh,udhcpc-script} /bin/busybox "$image" | sha256sum | cut -d' ' -f1)
if [ "$(cat "$folder/nfs.recipe" 2>/dev/null)" = "$recipe" ]; then
    exit 0
fi
mkdir -p "$folder"
rm -rf "$folder"/{nfs.recipe,nfs.img,ganesha}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unsquashfs -quiet -no-progress -no-xattrs -dest "$work/image" "$image" usr/lib/modules
"$here/busybox.sh" "$folder/nfs.img" "$here/nfs-init" "$work/image/usr" virtio_pci virtio_net nfsv4 overlay

mmdebstrap --quiet --variant=minbase --include=nfs-ganesha,nfs-ganesha-vfs --format=directory \
    --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$folder/ganesha"

echo "$recipe" >"$folder/nfs.recipe"

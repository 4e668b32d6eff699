#!/bin/bash
# Builds a worker's image: build.sh RECIPE [OUT.sqfs]. RECIPE is a folder here; without OUT it goes to target/images/.
# Each recipe but `debian` is that one and what lies in its folder: `arch`, `packages`, `rootfs/`, `customize.sh`, and
# `check.sh`, which says first whether all is there; all optional.
# ARCH=arm64 builds `debian` for UEFI machines of that kind. Root is not needed: mmdebstrap takes the best way this user
# has. MIRROR names another source (URI or sources file).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
name=${1:?"usage: [ARCH=amd64|arm64] build.sh RECIPE [OUT.sqfs]"}
name=$(basename "$name")
base=$here/debian
with=$here/$name
if [ ! -d "$with" ]; then
    echo "there is no recipe $name: $(cd "$here" && echo */ | tr -d /) are known" >&2
    exit 1
fi
arch=${ARCH:-$(cat "$with/arch" 2>/dev/null || echo amd64)}
suffix=
if [ "$name" = debian ]; then
    with=
    [ "$arch" = amd64 ] || suffix=-$arch
fi
out=${2:-$(dirname "$here")/target/images/$name$suffix.sqfs}
suite=bookworm
packages=linux-image-$arch,systemd-sysv,udev,kmod,iproute2,iputils-ping,procps,util-linux,attr,libcap2-bin

# Made before, by this very recipe? (the digests cover names, contents and modes of everything in the folders)
digest() {
    tar -C "$1" --exclude=./README.md --exclude=./overlays -c --sort=name --owner=0 --group=0 --mode=u=rwX,go=rX --mtime=@0 . | sha256sum | cut -d' ' -f1
}
recipe=$arch-$(sha256sum <"$here/build.sh" | cut -d' ' -f1)-$(digest "$base")
if [ -n "$with" ]; then
    recipe+=-$(digest "$with")
    [ ! -e "$with/packages" ] || packages+=,$(cat "$with/packages")
    if [ -x "$with/check.sh" ]; then
        extra=$("$with/check.sh")
        recipe+=-$extra
    fi
fi
if [ -s "$out" ] && [ "$(cat "$out.recipe" 2>/dev/null)" = "$recipe" ]; then
    echo "$out is up to date"
    exit 0
fi
mkdir -p "$(dirname "$out")"
rm -f "$out" "$out.recipe" "$out.tmp"
trap 'rm -f "$out.tmp"' EXIT

# No time of this build gets into the image.
export SOURCE_DATE_EPOCH=1767225600
# Debian's hook reads this: no initrd is made. ramboot makes its own when the image is published.
export INITRD=No

unpack() { # a folder into the one that becomes the image, as root owns it
    echo "tar -C '$1' -c --owner=0 --group=0 --mode=u=rwX,go=rX . | tar -C \"\$1\" -x --no-overwrite-dir"
}

# shellcheck disable=SC2016 # "$1" is for the hooks: the folder that becomes the image
case $arch in
amd64)
    hook=--customize-hook
    how=(--variant=minbase
        --customize-hook='chroot "$1" passwd --quiet --lock root'
        --customize-hook='chroot "$1" systemctl --quiet enable serial-getty@ttyS0.service')
    ;;
arm64)
    # No program of the image runs here: packages are unpacked and no more, and arm64.sh does what their scripts would.
    packages+=,base-files,base-passwd,bash,coreutils,dash,findutils,grep,libc-bin,mount,ncurses-base,sed,squashfs-tools
    packages+=,systemd-boot-efi
    # mmdebstrap goes no further, so this is the last of its hooks.
    hook=--extract-hook
    how=(--variant=extract --architecture=arm64 --components=main,non-free-firmware
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr
        "$hook='$base/arm64.sh' \"\$1\""
        "$hook=$(unpack "$base/rootfs-arm64")")
    ;;
*)
    echo "ARCH is $arch: amd64 and arm64 are known" >&2
    exit 1
    ;;
esac
how+=("$hook=$(unpack "$base/rootfs")")
if [ -n "$with" ]; then
    [ ! -d "$with/rootfs" ] || how+=("$hook=$(unpack "$with/rootfs")")
    [ ! -x "$with/customize.sh" ] || how+=("$hook='$with/customize.sh' \"\$1\"")
fi
# shellcheck disable=SC2016
mmdebstrap --quiet "${how[@]}" --include="$packages" --format=tar \
    --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$hook"='rm -f "$1"/boot/initrd.img* "$1"/initrd.img* "$1"/etc/resolv.conf' \
    "$hook"='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*' \
    "$hook"='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap' \
    "$hook"=': >"$1"/etc/machine-id' \
    "$suite" - ${MIRROR:+"$MIRROR"} |
    mksquashfs - "$out.tmp" -tar -root-mode 0755 -root-uid 0 -root-gid 0 \
        -quiet -no-progress -comp zstd -Xcompression-level 15 -b 256K

mv "$out.tmp" "$out"
echo "$recipe" >"$out.recipe"
echo "$out: $((($(stat -c %s "$out") + 500000) / 1000000)) MB"

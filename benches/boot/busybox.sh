#!/bin/bash
# Packs an initramfs of busybox and one script: busybox.sh OUT.img INIT ROOT MODULE…, with these modules of the kernel in
# ROOT/lib/modules and what they need, in the order in which they are to be loaded.
set -euo pipefail

out=$(realpath "${1:?"usage: busybox.sh OUT.img INIT ROOT MODULE…"}")
init=$(realpath "$2")
modules=$3
version=$(ls "$modules/lib/modules")
here=$(cd "$(dirname "$0")" && pwd)
shift 3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,dev,proc,modules}
cp /bin/busybox "$work/bin/"
install -m 755 "$init" "$work/init"
install -m 755 "$here/udhcpc-script" "$work/udhcpc-script"
number=10
for module in "$@"; do
    while read -r _ path; do
        name=${path##*/}
        [ -z "$(find "$work/modules" -name "*-$name")" ] || continue
        cp "$path" "$work/modules/$number-$name"
        number=$((number + 1))
    done < <(modprobe --dirname="$modules" --set-version="$version" --ignore-install --show-depends "$module" | grep ^insmod)
done
(cd "$work" && find . -print0 | sort -z | cpio --null --create --quiet --format=newc --owner=0:0) >"$out"

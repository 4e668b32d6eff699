#!/bin/bash
# Debian 13's kernel for virtual machines, for workers that have another kernel than the images': kernel.sh OUT makes
# OUT/linux-6.12 with boot/vmlinuz-VERSION and usr/lib/modules/VERSION. Not made again while this recipe is the same.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../target/images}
mkdir -p "$out"
out=$(cd "$out" && pwd)/linux-6.12

recipe=$(sha256sum <"$here/kernel.sh" | cut -d' ' -f1)
if [ "$(cat "$out/recipe" 2>/dev/null)" = "$recipe" ]; then
    echo "$out is up to date"
    exit 0
fi
rm -rf "$out" "$out.tmp"
mkdir "$out.tmp"
trap 'rm -rf "$out.tmp"' EXIT

# Packages are unpacked, and none of their scripts runs: depmod does what one of them would.
mmdebstrap --quiet --variant=extract --format=tar --aptopt='Acquire::Retries "5"' \
    --include=linux-image-cloud-amd64 trixie - ${MIRROR:+"$MIRROR"} |
    tar -C "$out.tmp" -x --no-same-owner ./boot ./usr/lib/modules
depmod --basedir "$out.tmp/usr" "$(ls "$out.tmp/usr/lib/modules")"

echo "$recipe" >"$out.tmp/recipe"
mv "$out.tmp" "$out"
echo "$out: $(($(du -s -B 1000000 "$out" | cut -f1))) MB"

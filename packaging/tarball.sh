#!/bin/sh
# Packs what installs itself on any Linux: tarball.sh ARCH PROGRAM MANUAL OUT, with ARCH as `uname -m` has it, MANUAL as
# `make build` makes it and OUT a folder. The same files and SOURCE_DATE_EPOCH make the same bytes.
set -eu

arch=${1:?"usage: tarball.sh ARCH PROGRAM MANUAL OUT"} program=$2 manual=$3 out=$4
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml" | head -n 1)
name=ramboot-$version-$arch
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

mkdir -p "$tree/$name" "$out"
cp "$program" "$tree/$name/ramboot"
cp "$here/ramboot.service" "$here/ramboot.toml" "$here/ramboot.default" "$here/install.sh" "$here/../README.md" \
    "$here"/../LICENSE-* "$tree/$name/"
cp -r "$manual/man" "$manual/completions" "$here/../docs" "$tree/$name/"
chmod -R u=rwX,go=rX "$tree/$name"
chmod 755 "$tree/$name/ramboot" "$tree/$name/install.sh"
tar -C "$tree" -c --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" "$name" |
    gzip -9n >"$out/$name.tar.gz.tmp"
mv "$out/$name.tar.gz.tmp" "$out/$name.tar.gz"
echo "$out/$name.tar.gz"

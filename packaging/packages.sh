#!/bin/bash
# Everything that is given away, into target/packages: Debian packages for amd64 and arm64, static tarballs for x86_64 and
# aarch64. On a PC with Debian 12 or 13, after `make deb`; packages.sh EPOCH, in seconds since 1970.
set -euo pipefail

epoch=${1:?"usage: packages.sh EPOCH"}
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
out=target/packages
rm -rf "$out"
mkdir -p "$out"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
cp "target/debian/ramboot_$version-1_amd64.deb" "$out/"

# C code in the program is zstd and liblzma. Its headers must be musl's where it is linked with musl.
musl=target/musl-arm64
if [ ! -d $musl/usr/include/aarch64-linux-musl ]; then
    rm -rf $musl
    mkdir -p $musl
    mmdebstrap --quiet --variant=extract --architecture=arm64 --include=musl-dev --format=tar bookworm - |
        tar -C $musl -x ./usr/include/aarch64-linux-musl
fi
gcc_headers=$(aarch64-linux-gnu-gcc -print-file-name=include)
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_x86_64_unknown_linux_musl=musl-gcc
export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
# What gcc would take from glibc, or from its own library: names that musl and Rust's linking do not have.
export CFLAGS_aarch64_unknown_linux_musl="-nostdinc -isystem $PWD/$musl/usr/include/aarch64-linux-musl \
    -isystem $gcc_headers -mno-outline-atomics -fno-stack-protector -U_FORTIFY_SOURCE"
# Rust brings musl, its start files and this linker.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld

build() { # the program for a target
    "$cargo" build --locked --release --bin ramboot --target "$1"
}

build aarch64-unknown-linux-gnu
SOURCE_DATE_EPOCH=$epoch "$cargo" deb --locked --quiet --no-build --target aarch64-unknown-linux-gnu
lintian --fail-on error,warning --tag-display-limit 0 "target/debian/ramboot_$version-1_arm64.deb"
cp "target/debian/ramboot_$version-1_arm64.deb" "$out/"

for arch in x86_64 aarch64; do
    build $arch-unknown-linux-musl
    stripped=$(mktemp)
    strip="$arch-linux-gnu-strip"
    "$strip" -o "$stripped" target/$arch-unknown-linux-musl/release/ramboot
    SOURCE_DATE_EPOCH=$epoch packaging/tarball.sh $arch "$stripped" target/manual "$out" >/dev/null
    rm -f "$stripped"
done

# Each of them runs, and says what it is.
said=$(target/x86_64-unknown-linux-musl/release/ramboot --version)
for arm in "-L /usr/aarch64-linux-gnu target/aarch64-unknown-linux-gnu" target/aarch64-unknown-linux-musl; do
    # shellcheck disable=SC2086 # words are wanted
    there=$(qemu-aarch64-static $arm/release/ramboot --version)
    [ "$there" = "$said" ] || { echo "$arm says $there instead of $said" >&2; exit 1; }
done
(cd "$out" && sha256sum ./*.deb ./*.tar.gz | tee SHA256SUMS)

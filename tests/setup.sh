#!/bin/sh
# Installs what `make demo` and `make test` need on Debian 12 or 13: checks first, so a second run needs neither root
# nor network. Rust, a C compiler and make are there already. `setup.sh deb` installs what makes and checks packages, too,
# `setup.sh packages` what makes them for all architectures, and `setup.sh all` the clients of `make test-all`.
set -eu

packages="qemu-system-x86 seabios ipxe-qemu ipxe ovmf qemu-system-arm qemu-efi-aarch64 systemd-boot-efi squashfs-tools
    squashfs-tools-ng mmdebstrap debian-archive-keyring uidmap kmod dnsmasq-base nginx tftpd-hpa atftp
    tftp-hpa strace busybox-static iproute2 iputils-ping nftables
    zstd xz-utils cpio curl systemd util-linux
    e2fsprogs dosfstools mtools fdisk mandoc man-db shellcheck chromium fonts-dejavu-core prometheus"
targets="x86_64-unknown-linux-musl aarch64-unknown-linux-musl"
case ${1-} in
deb) packages="$packages dpkg-dev lintian" ;;
all) # foreign clients
    packages="$packages aria2 atftp dbus dhcpcd-base isc-dhcp-client kea-admin network-manager tftp-hpa udhcpc"
    ;;
packages)
    packages="$packages dpkg-dev lintian musl-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"
    targets="$targets aarch64-unknown-linux-gnu"
    ;;
esac
# Node.js may be there as another package than Debian's, with npm in it.
command -v node >/dev/null || packages="$packages nodejs"
command -v npm >/dev/null || packages="$packages npm"
missing=
for package in $packages; do
    case $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done

install_packages() {
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    # nginx and tftpd-hpa are measured against, not served with, and of prometheus promtool is wanted: installing them must
    # not open ports, now or at the next boot.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
        trap '$root rm -f $policy' EXIT
        $root chmod +x $policy
    fi
    $root apt-get update
    # shellcheck disable=SC2086 # words are wanted
    $root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
    for daemon in nginx tftpd-hpa prometheus network-manager; do
        unit=$daemon
        [ $daemon != network-manager ] || unit=NetworkManager
        case $missing in
        *"$daemon"*)
            $root rm -f /etc/systemd/system/multi-user.target.wants/$unit.service /etc/rc?.d/S??$daemon
            ;;
        esac
    done
}

if [ -n "$missing" ]; then
    echo "installing:$missing"
    install_packages
fi

# What drives Chromium in tests/page.rs: npm writes down what it has installed when it has.
page=${0%/*}/page
if [ -z "$(find "$page/node_modules/.package-lock.json" -newer "$page/package-lock.json" 2>/dev/null)" ]; then
    (cd "$page" && npm ci --no-audit --no-fund)
fi

# /init is linked statically for both kinds of worker.
if command -v rustup >/dev/null; then
    installed=$(rustup target list --installed)
    for target in $targets; do
        case $installed in
        *"$target"*) ;;
        *) rustup target add "$target" ;;
        esac
    done
fi

# A minute, once.
if [ -n "${1-}" ] && [ "$1" != all ] && ! command -v cargo-deb >/dev/null && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo-deb" ]; then
    cargo install --locked --version 3.8.0 cargo-deb
fi

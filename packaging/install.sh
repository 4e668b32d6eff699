#!/bin/sh
# Makes this machine a manager: a Raspberry Pi or any other Linux with systemd, x86_64 or aarch64. Takes the Debian package
# beside it if there is one for this machine, else the files beside it, as the tarball has them.
set -eu

usage="usage: install.sh [--dry-run] [--root DIR]
  --dry-run   only say what would be done
  --root DIR  lay the tarball's files below DIR and do nothing else"
dry=""
root=""
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --root)
        root=${2:?"$usage"}
        shift
        ;;
    -h | --help)
        echo "$usage"
        exit 0
        ;;
    *)
        echo "$usage" >&2
        exit 2
        ;;
    esac
    shift
done
cd "$(dirname "$0")"

die() {
    echo "install.sh: $*" >&2
    exit 1
}

# Says what is done, then does it.
run() {
    echo "  $*"
    [ -n "$dry" ] || "$@"
}

debian=$(dpkg --print-architecture 2>/dev/null || true)
package=
for file in ./ramboot_*_"${debian:-none}".deb; do
    [ ! -e "$file" ] || package=$file
done

check_machine() {
    machine=$(uname -m)
    # The ELF header's e_machine, little endian.
    case $(od -A n -t x1 -j 18 -N 2 ramboot) in
    " 3e 00") built=x86_64 ;;
    " b7 00") built=aarch64 ;;
    *) die "$(pwd)/ramboot is no program for x86_64 or aarch64" ;;
    esac
    [ "$built" = "$machine" ] || die "this ramboot is for $built, and this machine is $machine: take ramboot-*-$machine.tar.gz"
}

lay_files() {
    for file in ramboot ramboot.service ramboot.toml ramboot.default; do
        [ -f "$file" ] || die "there is no $file in $(pwd): unpack the whole tarball"
    done
    local=$root/usr/local
    echo "Files:"
    run install -D -m 755 ramboot "$local/bin/ramboot"
    run install -d "$local/lib/systemd/system"
    echo "  ramboot.service, for /usr/local/bin/ramboot, to $local/lib/systemd/system/"
    [ -n "$dry" ] || sed 's|/usr/bin/ramboot|/usr/local/bin/ramboot|' ramboot.service >"$local/lib/systemd/system/ramboot.service"
    for pair in ramboot.toml:etc/ramboot.toml ramboot.default:etc/default/ramboot; do
        to=$root/${pair#*:}
        if [ -e "$to" ]; then
            echo "  $to stays as it is"
        else
            run install -D -m 644 "${pair%%:*}" "$to"
        fi
    done
    run install -D -m 644 -t "$local/share/man/man1" man/*.1
    run install -D -m 644 -t "$local/share/man/man5" man/*.5
    run install -D -m 644 completions/ramboot.bash "$local/share/bash-completion/completions/ramboot"
    run install -D -m 644 -t "$local/share/zsh/site-functions" completions/_ramboot
    run install -D -m 644 -t "$local/share/fish/vendor_completions.d" completions/ramboot.fish
}

# What PCs boot by, and what makes images.
helpers="ipxe systemd-boot-efi squashfs-tools squashfs-tools-ng"

install_helpers() {
    missing=
    for helper in $helpers; do
        case $(dpkg-query --show --showformat='${db:Status-Status}' "$helper" 2>/dev/null) in
        installed) ;;
        *) missing="$missing $helper" ;;
        esac
    done
    if [ -z "$debian" ]; then
        echo "No Debian: install what your distribution has for:$missing"
    elif [ -n "$missing" ]; then
        echo "Packages of Debian:"
        # shellcheck disable=SC2086 # words are wanted
        run apt-get install --yes $missing
    fi
}

if [ -z "$dry$root" ] && [ "$(id -u)" != 0 ]; then
    die "root is needed: sudo ./install.sh, or ./install.sh --dry-run to see what it would do"
fi
if [ -n "$package" ] && [ -z "$root" ]; then
    echo "The Debian package:"
    run apt-get install --yes "$package"
else
    if [ ! -f ramboot ]; then
        die "neither a package for ${debian:-this machine} nor the tarball's files are in $(pwd)"
    fi
    check_machine
    if [ -z "$root" ] && [ -e /usr/bin/ramboot ]; then
        die "/usr/bin/ramboot is there: install the new package instead, or first: apt remove ramboot"
    fi
    lay_files
    if [ -z "$root" ]; then
        install_helpers
        if [ -d /run/systemd/system ]; then
            echo "systemd:"
            run systemctl daemon-reload
        fi
    fi
fi
# Not started: from when it runs, machines whose firmware tries the network first wait for an image.
echo "Next: ramboot publish IMAGE, then systemctl enable --now ramboot"

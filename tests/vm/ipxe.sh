#!/bin/sh
# Unpacks Debian 13's iPXE into a folder, for what Debian 12's cannot do yet: ipxe.sh FOLDER. MIRROR names another archive.
set -eu
folder=${1:?"usage: ipxe.sh FOLDER"}

[ -e "$folder/usr/lib/ipxe/snponly.efi" ] && exit 0
mkdir -p "$folder"
# It checks the archive's signature, and resolves nothing but this one package.
# shellcheck disable=SC2086 # no argument if there is none
mmdebstrap --quiet --variant=extract --include=ipxe trixie "$folder/ipxe.tar" ${MIRROR:-}
tar --extract --file "$folder/ipxe.tar" --directory "$folder" ./usr/lib/ipxe
rm "$folder/ipxe.tar"

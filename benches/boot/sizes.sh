#!/bin/bash
# The same root in images of other sizes: sizes.sh IMAGE.sqfs FOLDER MEGABYTES… makes FOLDER/MEGABYTES.sqfs and, for a server
# of files, the folder FOLDER/MEGABYTES: all that is in the image, and /usr/share/ballast, which no boot reads and nothing
# compresses, of as many bytes as are missing.
set -euo pipefail

image=$(realpath "${1:?"usage: sizes.sh IMAGE.sqfs FOLDER MEGABYTES…"}")
folder=${2:?"usage: sizes.sh IMAGE.sqfs FOLDER MEGABYTES…"}
recipe=$(cat "$0" "$image" | sha256sum | cut -d' ' -f1)
mkdir -p "$folder"
folder=$(realpath "$folder")
shift 2
# As images/build.sh has it: no time of this build gets into the image.
export SOURCE_DATE_EPOCH=1767225600

bytes=$(stat --dereference --format %s "$image")
for size in "$@"; do
    out=$folder/$size
    [ "$(cat "$out.recipe" 2>/dev/null)" != "$recipe" ] || continue
    ballast=$((size * 1000000 - bytes))
    if [ $ballast -lt 0 ]; then
        echo "an image of $size MB is wanted, and the root alone has $((bytes / 1000000)) MB: choose more" >&2
        exit 1
    fi
    rm -rf "$out" "$out.sqfs" "$out.recipe"
    unsquashfs -quiet -no-progress -dest "$out" "$image"
    # Numbers that look like chance, the same each time; each quarter of a megabyte is another one.
    perl -e 'srand 1; $chance = pack "N*", map { int rand 2**32 } 1 .. 65536;
        for ($left = $ARGV[0]; $left > 0; $left -= 262144) {
            print substr $chance ^ (pack("N", $left) x 65536), 0, $left;
        }' $ballast >"$out/usr/share/ballast"
    touch --date=@$SOURCE_DATE_EPOCH "$out/usr/share/ballast" "$out/usr/share"
    # As images/build.sh packs it.
    mksquashfs "$out" "$out.sqfs" -quiet -no-progress -comp zstd -Xcompression-level 15 -b 256K \
        -action "uncompressed@pathname(usr/share/ballast)"
    echo "$recipe" >"$out.recipe"
done

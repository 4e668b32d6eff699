#!/bin/bash
# How long it takes from the kernel's `Run /init` to the image's own init: ours, dracut's livenet, and a bare busybox script, in turns,
# with the same kernel, image, machine (QEMU, emulated) and server. README.md says how to read it.
#
#     benches/boot/run.sh            three rounds of all
#     ROUNDS=5 WHO="ours busybox" benches/boot/run.sh
#     CMDLINE=ramboot.debug RAMBOOT=target/debug/ramboot benches/boot/run.sh
#
# Exit code 1 if a bar is not held: at most 1/8 of dracut, at most 1.2 × busybox.
set -euo pipefail
cd "$(dirname "$0")/../.."
. benches/boot/lan.sh

rounds=${ROUNDS:-3}
who=${WHO:-ours dracut busybox}
image=${IMAGE:-target/images/debian.sqfs}
ramboot=$(realpath "${RAMBOOT:-target/release/ramboot}")
folder=target/boot
# For one boot, emulated, on a machine that does other things, too.
deadline=300

if [ "${1:-}" != inside ]; then
    images/build.sh debian "$image"
    benches/boot/peers.sh "$image" "$folder"
    own_network
fi

trap end EXIT
trap 'exit 1' INT TERM
mac=52:54:00:12:34:00
lan

rm -rf $folder/store
"$ramboot" publish "$image" --name bench --state $folder/store >$folder/publish.log
printf '[boot]\ncmdline = "console=ttyS0"\n' >$folder/ramboot.toml
serve $folder/ramboot.toml
given $mac

# One boot of $1; prints milliseconds as watch.pl does. The console with times is in $folder/$1.console.log. A shell of its own,
# with which the machine goes.
boot() (
    trap end EXIT
    local append times log=$folder/$1.console.log
    case $1 in
    ours) append="$words ${CMDLINE:-}" ;;
    dracut) append="$common root=live:$url/image.sqfs rd.live.image rd.live.overlay.overlayfs=1 ip=dhcp rd.neednet=1" ;;
    busybox) append="$common image=$url/image.sqfs" ;;
    esac
    rm -f $folder/console
    mkfifo $folder/console
    # The machine of tests/vm, without firmware that counts.
    qemu-system-x86_64 -machine q35,graphics=off -accel tcg,thread=multi -smp 2 -m 1024 \
        -nodefaults -no-user-config -no-reboot -display none -serial stdio \
        -netdev tap,id=n,ifname=tap0,script=no,downscript=no \
        -device virtio-net-pci,romfile=,netdev=n,mac=$mac \
        -kernel $folder/vmlinuz -initrd "$folder/$1.img" -append "$append" \
        </dev/null >$folder/console 2>$folder/qemu.log &
    times=$(perl benches/boot/watch.pl $deadline "$log" $! <$folder/console) || {
        echo "$1 did not boot; the end of $log:" >&2
        tail -n 20 "$log" >&2
        exit 1
    }
    echo "$times"
)

declare -A executed spoke cpu
for round in $(seq "$rounds"); do
    for one in $who; do
        times=$(boot "$one")
        read -r to_exec to_line busy <<<"$times"
        executed[$one]+="$to_exec "
        spoke[$one]+="$to_line "
        cpu[$one]+="$busy "
        echo "round $round: $one: $to_exec ms to exec, $to_line ms to its first line, $busy ms of processor time" >&2
    done
done

# Of numbers; `-` if there are none.
median() {
    tr ' ' '\n' <<<"$1" | { grep '^[0-9]' || true; } | sort -n |
        awk '{ v[NR] = $1 } END { print NR ? (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 : "-" }'
}
bytes=$(stat --dereference --format %s "$image")
echo "From \`Run /init\` to the image's init, $((bytes / 1000000)) MB image, median of $rounds in turns, ms:"
printf '%-10s%10s%12s%12s   %s\n' '' executed 'first line' 'processor' 'all first lines'
for one in $who; do
    printf '%-10s%10s%12s%12s   %s\n' "$one" "$(median "${executed[$one]}")" "$(median "${spoke[$one]}")" \
        "$(median "${cpu[$one]}")" "${spoke[$one]% }"
done

status=0
# bar NAME OURS THEIRS LIMIT: ours is at most LIMIT times theirs, by the median of the ratios of each round.
bar() {
    local ratios
    ratios=$(paste <(tr ' ' '\n' <<<"$2") <(tr ' ' '\n' <<<"$3") |
        awk '$1 ~ /^[0-9]/ && $2 ~ /^[0-9]/ { printf "%.3f ", $1 / $2 }')
    [ -n "$ratios" ] || return 0
    awk -v name="$1" -v ratio="$(median "$ratios")" -v all="${ratios% }" -v limit="$4" 'BEGIN {
        held = ratio <= limit
        printf "ours / %s = %.3f (%s), at most %.3f: %s\n", name, ratio, all, limit, held ? "held" : "NOT HELD"
        exit !held }' || status=1
}
bar 'dracut, first line' "${spoke[ours]:-}" "${spoke[dracut]:-}" 0.125
bar 'busybox, executed' "${executed[ours]:-}" "${executed[busybox]:-}" 1.2
exit $status

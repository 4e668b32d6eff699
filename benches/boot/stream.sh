#!/bin/bash
# What an image's size and the link cost until a worker runs: ours in stream mode and in full mode, a root over NFS and dracut's
# livenet, from the kernel's `Run /init` to the image's init and to multi-user.target, with the same kernel, root, machine (QEMU,
# emulated) and link. README.md says how to read it.
#
#     benches/boot/stream.sh         three rounds of all
#     ROUNDS=1 WHO="stream nfs" LINKS="100 open" SIZES=200 benches/boot/stream.sh
#     ADD=1 … adds to the results there are, of a run that was cut short or of other links
#
# LINKS are megabits a second, SIZES megabytes. Exit code 1 if a bar is not held: in stream mode the largest image takes at most
# 1.2 × as long as the smallest, and at 100 Mbit/s the smallest at most 1/4 of what full mode takes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. benches/boot/lan.sh

rounds=${ROUNDS:-3}
who=${WHO:-stream full nfs dracut}
links=${LINKS:-100 1000 open}
sizes=${SIZES:-200 2000}
image=${IMAGE:-target/images/debian.sqfs}
ramboot=$(realpath "${RAMBOOT:-target/release/ramboot}")
folder=target/boot
# For one boot, emulated, on a machine that does other things, too: 2 GB at 100 Mbit/s are 160 s of it.
deadline=900
# What takes longer than so many seconds on the wire alone is measured once: the wire is all of it.
once=60
# A boot in which an emulated processor stands still is not one, and is done again, so often in a run.
hangs=5
again=75

if [ "${1:-}" != inside ]; then
    images/build.sh debian "$image"
    case " $who " in *" dracut "*) benches/boot/peers.sh "$image" "$folder" ;; esac
    case " $who " in *" nfs "*) benches/boot/nfs.sh "$image" "$folder" ;; esac
    # shellcheck disable=SC2086 # several
    benches/boot/sizes.sh "$image" "$folder/sizes" $sizes
    own_network
fi

trap end EXIT
trap 'exit 1' INT TERM

# Tenths of processors that were busy for ten seconds, before anything of ours runs.
busy() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; }
before=$(busy)
sleep 10
others=$((($(busy) - before) / 100))

lan

# The machine that gets the image of $1 megabytes.
mac() { printf '52:54:00:%02x:%02x:%02x' $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)); }

# What was published stays, for it takes minutes; what was recorded goes.
rm -rf $folder/store/profiles
# systemd says what it does to the kernel's log: what it says on the serial line itself may be lost when a login takes that over.
# nosocket: when systemd has its first cgroup with a memory controller, the kernel patches the code of its sockets; QEMU 7.2's
# emulated processors hung there for ever in one boot of some hundred, each at an int3 that was not there any more.
printf '[boot]\ncmdline = "console=ttyS0 systemd.log_target=kmsg printk.devkmsg=on cgroup.memory=nosocket"\n' >$folder/stream.toml
for size in $sizes; do
    "$ramboot" publish "$folder/sizes/$size.sqfs" --name "mb$size" --state $folder/store >>$folder/publish.log
    printf '[[worker]]\nmac = "%s"\nimage = "mb%s"\n' "$(mac "$size")" "$size" >>$folder/stream.toml
done
serve $folder/stream.toml

declare -A words_of url_of common_of
for size in $sizes; do
    given "$(mac "$size")"
    words_of[$size]=$words url_of[$size]=$url common_of[$size]=$common
done

# NFS-Ganesha opens files by their handles, which only root of the whole machine may.
case " $who " in *" nfs "*)
    if [ "$(awk '{ print $3 }' /proc/self/uid_map)" != 4294967295 ]; then
        echo "without nfs: its server wants to run as root, and not in a user namespace" >&2
        who=$(tr ' ' '\n' <<<"$who" | grep -vx nfs | tr '\n' ' ')
    else
        root=$folder/ganesha
        mkdir -p $root/export $root/run/ganesha
        mount --bind $folder/sizes $root/export
        mount --bind /dev $root/dev
        mount -t proc proc $root/proc
        ln -sf /proc/self/mounts $root/etc/mtab
        cp benches/boot/ganesha.conf $root/etc/ganesha/stream.conf
        chroot $root ganesha.nfsd -F -L /dev/stdout -f /etc/ganesha/stream.conf >$folder/ganesha.log 2>&1 &
    fi
    ;;
esac

# From now on the machine's cable carries $1 megabits a second, with a switch's queue of 50 ms before it.
shape() {
    tc qdisc del dev tap0 root 2>/dev/null || true
    case $1 in
    open) ;;
    *) tc qdisc add dev tap0 root tbf rate "$1mbit" burst $((16 + $1 / 8))kb latency 50ms ;;
    esac
}

# Switches the machine on: $1 is who, $2 the image's size, its console goes to the pipe $folder/console.
start() {
    local append img=$1
    case $1 in
    stream | full)
        append=${words_of[$2]}
        img=ours
        [ "$1" = full ] || append+=" ramboot.mode=stream"
        ;;
    dracut) append="${common_of[$2]} root=live:${url_of[$2]}/image.sqfs rd.live.image rd.live.overlay.overlayfs=1 ip=dhcp rd.neednet=1" ;;
    nfs) append="${common_of[$2]} server=$manager export=/export/$2" ;;
    esac
    rm -f $folder/console
    mkfifo $folder/console
    # The machine of tests/vm, without firmware that counts, and with memory for the largest image.
    qemu-system-x86_64 -machine q35,graphics=off -accel tcg,thread=multi -smp 2 -m 4096 \
        -nodefaults -no-user-config -no-reboot -display none -serial stdio \
        -netdev tap,id=n,ifname=tap0,script=no,downscript=no \
        -device "virtio-net-pci,romfile=,netdev=n,mac=$(mac "$2")" \
        -kernel $folder/vmlinuz -initrd "$folder/$img.img" -append "$append ${CMDLINE:-}" \
        </dev/null >$folder/console 2>$folder/qemu.log &
}

# One boot of $1 with an image of $2 megabytes at $3; prints milliseconds as watch.pl does. The console with times is in
# $folder/$1-$2-$3.console.log. With $4, a URL, until that is answered, too.
boot() {
    local code
    while :; do
        code=0
        attempt "$@" || code=$?
        [ $code = $again ] || return $code
    done
}

# A shell of its own, with which the machine goes. Exit code $again if it is to be switched on once more.
attempt() (
    trap end EXIT
    local times log=$folder/$1-$2-$3.console.log
    shape "$3"
    start "$1" "$2"
    exec 3<$folder/console
    times=$(perl benches/boot/watch.pl $deadline "$log" $! multi-user.target <&3) || {
        # Linux says so after 20 s. QEMU 7.2 does it now and then, with each of them: at an int3 that the kernel has taken
        # away again, in clear_page_rep for udev's modules.
        if grep -q 'soft lockup' "$log" && [ "$(wc -l <$hung)" -lt $hangs ]; then
            cp "$log" "$log.hung"
            echo "$3 $2 $1" >>$hung
            echo "$1 with $2 MB: an emulated processor stood still ($log.hung); once more" >&2
            exit $again
        fi
        echo "$1 with $2 MB did not boot; the end of $log:" >&2
        tail -n 20 "$log" >&2
        exit 1
    }
    echo "$times"
    [ -n "${4:-}" ] || exit 0
    # Who reads no more stops a console.
    cat <&3 >>"$log" &
    for _ in $(seq 90); do
        ! curl --silent --fail --max-time 5 --output /dev/null "$4" || exit 0
        sleep 1
    done
    echo "nothing was recorded of $2 MB within 90 s of its boot: $4 is not there; the end of $log:" >&2
    tail -n 20 "$log" >&2
    exit 1
)

results=$folder/stream.results
hung=$folder/stream.hung
[ -n "${ADD:-}" ] || : >$results
: >$hung
started=$SECONDS
case " $who " in *" stream "*)
    # What a boot reads is recorded in the first.
    for size in $sizes; do
        times=$(boot stream "$size" open "${url_of[$size]}/profile")
        read -r _ to_line _ to_target <<<"$times"
        echo "recorded: $size MB: $to_line ms to its first line, $to_target ms to multi-user" >&2
    done
    ;;
esac
for round in $(seq "$rounds"); do
    for link in $links; do
        for size in $sizes; do
            for one in $who; do
                # Bytes of it, at least, come before the image's init.
                case $one-$link in
                stream-* | nfs-* | *-open) wire=0 ;;
                *) wire=$((size * 8 / link)) ;;
                esac
                [ $wire -lt $once ] || ! grep -q "^$link $size $one " $results || continue
                times=$(boot "$one" "$size" "$link")
                read -r to_exec to_line cpu to_target <<<"$times"
                echo "$link $size $one $to_exec $to_line $to_target $cpu" >>$results
                echo "round $round: $link Mbit/s, $size MB, $one: $to_exec ms to exec, $to_line ms to its first line," \
                    "$to_target ms to multi-user, $cpu ms of processor time" >&2
            done
        done
    done
done

# median LINK SIZE WHO COLUMN: seconds; nothing if there are none.
median() {
    awk -v link="$1" -v size="$2" -v one="$3" -v column="$4" \
        '$1 == link && $2 == size && $3 == one && $column != "-" { print $column / 1000 }' $results | sort -n |
        awk '{ v[NR] = $1 } END { if (NR) printf "%.2f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}
declare -A name=([stream]='ours, stream' [full]='ours, full' [nfs]='NFS root' [dracut]='dracut livenet')
echo "Seconds from \`Run /init\` to the image's init / to multi-user, median of $rounds in turns (of 1 where the wire alone takes"
echo "$once s); others had $((others / 10)).$((others % 10)) CPUs before; $((SECONDS - started)) s in all; $(wc -l <$hung) boots hung:"
echo
printf '| link | image |'
for one in $who; do printf ' %s |' "${name[$one]}"; done
printf '\n| --- | --- |'
for one in $who; do printf ' --- |'; done
echo
for link in $links; do
    for size in $sizes; do
        case $link in open) printf '| open |' ;; *) printf '| %s Mbit/s |' "$link" ;; esac
        printf ' %s MB |' "$size"
        for one in $who; do
            printf ' %s / %s |' "$(median "$link" "$size" "$one" 5)" "$(median "$link" "$size" "$one" 6)"
        done
        echo
    done
done
echo

status=0
# bar TEXT LIMIT OURS THEIRS: the median of ours is at most LIMIT times theirs, each as `median` wants them, if both were measured.
bar() {
    local ours theirs
    # shellcheck disable=SC2086 # four words
    ours=$(median $3) theirs=$(median $4)
    [ -n "$ours" ] && [ -n "$theirs" ] || return 0
    awk -v text="$1" -v ours="$ours" -v theirs="$theirs" -v limit="$2" 'BEGIN {
        held = ours <= limit * theirs
        printf "%s: %.2f s / %.2f s = %.3f, at most %.2f: %s\n", text, ours, theirs, ours / theirs, limit, held ? "held" : "NOT HELD"
        exit !held }' || status=1
}
least=$(tr ' ' '\n' <<<"$sizes" | sort -n | head -n 1)
most=$(tr ' ' '\n' <<<"$sizes" | sort -n | tail -n 1)
if [ "$least" != "$most" ]; then
    for link in $links; do
        bar "$link, stream, $most MB / $least MB, first line" 1.2 "$link $most stream 5" "$link $least stream 5"
    done
fi
bar "100 Mbit/s, $least MB, stream / full, first line" 0.25 "100 $least stream 5" "100 $least full 5"
bar "100 Mbit/s, $least MB, stream / full, executed" 0.25 "100 $least stream 4" "100 $least full 4"
exit $status

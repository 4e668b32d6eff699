#!/bin/sh
# Files that arrive by TFTP over a wire that loses packets both ways: ramboot beside tftpd-hpa, atftpd and async-tftp, asked by
# programs of Debian's (atftp, curl, tftp-hpa). Root; two network namespaces of its own; nftables loses the packets.
#     cargo build --locked --bin ramboot --example async_tftp
#     benches/tftp_loss.sh [RUNS] [SECONDS a run] [target/debug/ramboot] [target/debug/examples/async_tftp]
# atftpd's package and tftpd-hpa's exclude each other: ATFTPD is its program, from `apt-get download atftpd` and `dpkg-deb -x`.
# Five runs of one loss run at the same time: they wait, mostly. Prints how many of RUNS got the whole file in time, and the
# median of their seconds.
set -eu

runs=${1:-5}
limit=${2:-60}
ramboot=${3:-target/debug/ramboot}
async_tftp=${4:-target/debug/examples/async_tftp}
bytes=200000
ports='69 1069 2069 3069'
folder=$(mktemp -d)
server=rb-loss-s-$$
client=rb-loss-c-$$
pids=

finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || :; done
    wait
    ip netns delete "$server" 2>/dev/null || :
    ip netns delete "$client" 2>/dev/null || :
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 1' INT TERM

mkdir "$folder/files" "$folder/state" "$folder/out"
head -c $bytes /dev/urandom >"$folder/files/undionly.kpxe"
chmod -R a+rX "$folder"
ip netns add "$server"
ip netns add "$client"
ip -netns "$server" link set lo up
ip -netns "$server" link add s0 type veth peer name c0 netns "$client"
ip -netns "$server" address add 10.98.0.1/24 dev s0
ip -netns "$client" address add 10.98.0.2/24 dev c0
ip -netns "$server" link set s0 up
ip -netns "$client" link set c0 up

on() {
    name=$1
    shift
    ip netns exec "$name" "$@" >"$folder/log" 2>&1 &
    pids="$pids $!"
}
on "$server" "$ramboot" --log=warn serve --dhcp=off --interface=s0 --state "$folder/state" --ipxe-dir "$folder/files"
on "$server" in.tftpd --foreground --user root --address :1069 --secure "$folder/files"
on "$server" "${ATFTPD:-atftpd}" --daemon --no-fork --user root --port 2069 --bind-address 10.98.0.1 "$folder/files"
on "$server" "$async_tftp" 10.98.0.1:3069 "$folder/files"
for port in $ports; do
    until ip netns exec "$server" ss -Hlnu "sport = :$port" | grep -q .; do sleep 0.1; done
done

lose() {
    for name in "$server" "$client"; do
        ip netns exec "$name" nft flush ruleset
        [ "$1" = 0 ] && continue
        ip netns exec "$name" nft -f - <<EOF
table inet loss {
    chain input {
        type filter hook input priority 0
        ip protocol udp numgen random mod 100 < $1 drop
    }
}
EOF
    done
}

fetch() {
    case $1 in
    atftp-1) set -- atftp --option "blksize 1468" --get -r undionly.kpxe -l "$3" 10.98.0.1 "$2" ;;
    atftp-16) set -- atftp --option "blksize 1468" --option "windowsize 16" --get -r undionly.kpxe -l "$3" 10.98.0.1 "$2" ;;
    atftp-64) set -- atftp --option "blksize 1468" --option "windowsize 64" --get -r undionly.kpxe -l "$3" 10.98.0.1 "$2" ;;
    curl) set -- curl --silent --tftp-blksize 1468 -o "$3" "tftp://10.98.0.1:$2/undionly.kpxe" ;;
    tftp-hpa) set -- tftp -m binary 10.98.0.1 "$2" -c get undionly.kpxe "$3" ;;
    esac
    timeout "$limit" ip netns exec "$client" "$@" >/dev/null 2>&1 || :
}

one() {
    out="$folder/out/$1-$2-$3"
    begin=$(date +%s%N)
    fetch "$1" "$2" "$out.got"
    end=$(date +%s%N)
    if cmp -s "$out.got" "$folder/files/undionly.kpxe"; then
        echo $(((end - begin) / 10000000)) >"$out.time"
    fi
}

printf 'lost each way; client: arrived of %s within %s s, median seconds\n' "$runs" "$limit"
printf '%-6s%-10s%14s%14s%14s%14s\n' lost client ramboot tftpd-hpa atftpd async-tftp
for percent in 0 5 10 20; do
    lose $percent
    rm -f "$folder"/out/*
    # Five of each client at a time: all have one address, and ramboot has 32 places for one.
    for first in $(seq 1 5 "$runs"); do
        waited=
        last=$((first + 4 < runs ? first + 4 : runs))
        for who in atftp-1 atftp-16 atftp-64 curl tftp-hpa; do
            for port in $ports; do
                for run in $(seq "$first" $last); do
                    one $who "$port" "$run" &
                    waited="$waited $!"
                done
            done
        done
        # shellcheck disable=SC2086 # words are wanted
        wait $waited
    done
    for who in atftp-1 atftp-16 atftp-64 curl tftp-hpa; do
        printf '%-6s%-10s' "$percent %" $who
        for port in $ports; do
            cat "$folder/out/$who-$port-"*.time 2>/dev/null | sort -n | awk '
                { time[NR] = $1 / 100 }
                END { printf "%14s", NR ? sprintf("%d; %.1f", NR, time[int((NR + 1) / 2)]) : "0" }'
        done
        echo
    done
done

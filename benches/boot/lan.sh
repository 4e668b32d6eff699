# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # who sources it sets and reads: $ramboot, $folder; $manager, $words, $url, $common
# For run.sh and stream.sh: a network of their own, a manager in it, and what it gives a machine.

manager=192.168.77.1

# Runs this script anew in a network that nobody outside sees.
own_network() {
    local rootlike=()
    [ "$(id -u)" = 0 ] || rootlike=(--user --map-root-user)
    exec unshare "${rootlike[@]}" --net --mount -- "$0" inside
}

# Ends what this shell started, and waits for it.
end() {
    local pids
    pids=$(jobs -p)
    # shellcheck disable=SC2086 # several
    [ -z "$pids" ] || { kill $pids 2>/dev/null || true; wait; } 2>/dev/null
}

# The manager's bridge, and the cable of the one machine, tap0.
lan() {
    ip link set lo up
    ip link add lan0 type bridge forward_delay 0 stp_state 0
    ip address add $manager/24 dev lan0
    ip tuntap add tap0 mode tap
    ip link set tap0 master lan0 up
    ip link set lan0 up
}

# The manager of $folder/store, with the config $1.
serve() {
    "$ramboot" serve --state "$folder/store" --config "$1" --interface lan0 \
        --dhcp full --pool 192.168.77.100-192.168.77.199 2>"$folder/manager.log" &
}

get() {
    curl --silent --show-error --fail --retry 40 --retry-delay 1 --retry-connrefused --max-time 60 "$@"
}

# What the machine of this MAC would run by iPXE, `kernel --name NAME URL WORDS… || …` and `initrd --name NAME URL || …`: kernel and
# initramfs are $folder/vmlinuz and ours.img then, $words the command line, $common what of it is not ramboot's, $url the image's folder.
given() {
    local kernel initrd
    get "http://$manager:8067/ipxe/${1//:/-}.x86_64" >"$folder/script"
    read -r _ _ _ kernel words < <(sed -n 's/ || goto failed$//; /^kernel /p' "$folder/script")
    read -r _ _ _ initrd < <(sed -n 's/ || goto failed$//; /^initrd /p' "$folder/script")
    get --output "$folder/vmlinuz" "$kernel"
    get --output "$folder/ours.img" "$initrd"
    url=http://$manager:8067/images/$(tr ' ' '\n' <<<"$words" | sed -n 's/^ramboot\.image=//p')
    common=$(tr ' ' '\n' <<<"$words" | grep -v '^ramboot\.\|^BOOTIF=\|^initrd=' | tr '\n' ' ')
}

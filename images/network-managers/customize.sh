#!/bin/sh
# Which manager runs, and what it is told beside what /init tells it: customize.sh ROOT.
set -eu
root=${1:?"usage: customize.sh ROOT"}

# None starts by itself: a worker's kernel parameter systemd.wants= chooses one, and /init reads that, too.
for unit in systemd-networkd.service systemd-networkd-wait-online.service NetworkManager.service \
    NetworkManager-wait-online.service networking.service dhcpcd.service systemd-resolved.service; do
    chroot "$root" systemctl --quiet disable "$unit" 2>/dev/null
done
# Made here, host keys would be those of whoever has the image; a worker is brought its own by /init.
rm -f "$root"/etc/ssh/ssh_host_*

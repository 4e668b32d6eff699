#!/bin/sh
# customize.sh ROOT: K3S into the image, once more checked as it lies there, and its agent started at boot.
set -eu
root=${1:?"usage: K3S=… K3S_SHA256=… customize.sh ROOT"}

K3S=$K3S "$(dirname "$0")/check.sh" >/dev/null
install -D -m 755 "$K3S" "$root/usr/local/bin/k3s"
K3S=$root/usr/local/bin/k3s "$(dirname "$0")/check.sh" >/dev/null
for name in kubectl crictl ctr; do
    ln -sf k3s "$root/usr/local/bin/$name"
done
# /init lays the node's password here: only where the folder is.
install -d -m 755 "$root/etc/rancher/k3s"
install -d -m 700 "$root/etc/rancher/node"
install -d "$root/var/lib/rancher" "$root/var/lib/kubelet"
chroot "$root" systemctl --quiet enable k3s-agent.service

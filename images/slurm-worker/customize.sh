#!/bin/sh
# customize.sh ROOT: nothing that two clusters would share, and no controller unless a worker file starts it.
set -eu
root=${1:?"usage: customize.sh ROOT"}

rm -f "$root/etc/munge/munge.key"
chroot "$root" systemctl --quiet disable slurmctld.service
# Packages' scripts make it for a user, who may have another number there.
chroot "$root" install -d -o slurm -g slurm -m 755 /var/lib/slurm/slurmctld

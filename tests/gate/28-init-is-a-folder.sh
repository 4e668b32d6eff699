# /sbin/init is no plain file: a program is wanted there; there is no executable /lib/systemd/systemd or /init either
rm sbin/init usr/lib/systemd/systemd
mkdir sbin/init

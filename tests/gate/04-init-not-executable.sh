# /sbin/init (a link to /usr/lib/systemd/systemd) is not executable (mode 0644): chmod 755 it; there is no executable /lib/systemd/systemd or /init either
chmod 644 usr/lib/systemd/systemd

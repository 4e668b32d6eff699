# /sbin/init is a link to /lib/systemd/systemd, which is not in the image: install what belongs there (systemd-sysv has Debian's); there is no executable /lib/systemd/systemd or /init either
rm lib/systemd/systemd

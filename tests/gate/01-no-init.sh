# the image has no init: /sbin/init, /lib/systemd/systemd, /init are not there; install systemd-sysv or another init
rm sbin/init lib/systemd/systemd

# /sbin/init (a link to /usr/lib/systemd/systemd) is empty: no kernel starts it; put a program for the kernel's machine there
: >usr/lib/systemd/systemd

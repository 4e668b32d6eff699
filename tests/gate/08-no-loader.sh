# /sbin/init (a link to /usr/lib/systemd/systemd) is loaded by /lib64/ld-linux-x86-64.so.2, which is not in the image: install the package it comes with
rm lib64/ld-linux-x86-64.so.2

# /sbin/init (a link to /usr/lib/systemd/systemd) is for aarch64, the kernel for x86_64: install the kernel and the system of one architecture
# e_machine
printf '\267' | dd of=usr/lib/systemd/systemd bs=1 seek=18 conv=notrunc

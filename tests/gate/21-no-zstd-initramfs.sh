# the kernel 6.1.0-56-amd64 was built without CONFIG_RD_ZSTD (/boot/config-6.1.0-56-amd64): it cannot unpack the initramfs that is made here, which is under zstd; take a kernel that has it
sed -i 's/CONFIG_RD_ZSTD=y/# CONFIG_RD_ZSTD is not set/' boot/config-6.1.0-56-amd64

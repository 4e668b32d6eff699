# the image is packed with xz and its filter x86, and the kernel 6.1.0-56-amd64 is without CONFIG_XZ_DEC_X86 (/boot/config-6.1.0-56-amd64): it would read no program; pack it without -Xbcj, or with zstd: mksquashfs ROOT image.sqfs -comp zstd
# mksquashfs: -comp xz -Xbcj x86

# the image is packed with xz, which the kernel 6.1.0-56-amd64 does not read: zstd it does (what its squashfs.ko is linked with); pack it with zstd, which all kernels of distributions read: mksquashfs ROOT image.sqfs -comp zstd
# mksquashfs: -comp xz
rm boot/config-6.1.0-56-amd64
sed -i /squashfs/d lib/modules/6.1.0-56-amd64/modules.builtin
mkdir lib/modules/6.1.0-56-amd64/kernel/fs
(cat lib/modules/6.1.0-56-amd64/kernel/lib/needed.ko; printf '\0zstd_init_dstream\0') >lib/modules/6.1.0-56-amd64/kernel/fs/squashfs.ko
echo kernel/fs/squashfs.ko: >>lib/modules/6.1.0-56-amd64/modules.dep

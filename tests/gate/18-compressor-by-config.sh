# the image is packed with zstd, which the kernel 6.1.0-56-amd64 does not read: gzip it does (/boot/config-6.1.0-56-amd64); pack it with gzip (mksquashfs ROOT image.sqfs -comp gzip), or take a kernel with CONFIG_SQUASHFS_ZSTD
sed -i -e /SQUASHFS_ZSTD/d -e /SQUASHFS_XZ/d boot/config-6.1.0-56-amd64

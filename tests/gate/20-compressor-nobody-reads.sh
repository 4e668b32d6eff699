# it is compressed with lz4; gzip, xz and zstd can be published: mksquashfs ROOT image.sqfs -comp zstd makes an image that the kernels of all distributions read (Raspberry Pi's read no lz4)
# mksquashfs: -comp lz4

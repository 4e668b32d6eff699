# modules.dep names kernel/lib/needed.ko, which is not there, and belongs into the initramfs: run depmod -b ROOT 6.1.0-56-amd64 before the image is made, or put them back
rm lib/modules/6.1.0-56-amd64/kernel/lib/needed.ko

# the kernel /boot/vmlinuz-6.1.0-56-amd64 in the image is version 6.1.0-57-amd64, the modules beside it are for 6.1.0-56-amd64: it would load none of them; install the kernel's package again, or give --kernel and --modules that belong together
printf 6.1.0-57 | dd of=boot/vmlinuz-6.1.0-56-amd64 bs=1 seek=1024 conv=notrunc

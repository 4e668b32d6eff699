# the kernel 6.1.0-56-amd64 was built without CONFIG_DEVTMPFS (/boot/config-6.1.0-56-amd64): there would be no devices in /dev; take a kernel that has it
sed -i 's/CONFIG_DEVTMPFS=y/# CONFIG_DEVTMPFS is not set/' boot/config-6.1.0-56-amd64

# the kernel has no overlay, neither built in nor as a module; workers mount their root with it: take a kernel with CONFIG_BLK_DEV_LOOP, CONFIG_SQUASHFS and CONFIG_OVERLAY_FS, or install all modules of 6.1.0-56-amd64
sed -i /overlay/d lib/modules/6.1.0-56-amd64/modules.builtin

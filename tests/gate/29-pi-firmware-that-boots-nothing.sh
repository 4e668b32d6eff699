# the image has Raspberry Pi firmware, and no Raspberry Pi can boot it: Pi 2 v1.2: fixup.dat is not in the image: install raspi-firmware, or copy it to /boot/firmware; Pi 4B: fixup4.dat is not in the image: install raspi-firmware, or copy it to /boot/firmware; Pi 5: the image has no device tree for it (bcm2712-rpi-5-b.dtb); add what is missing, or take the firmware out
# tree: arm64
rm boot/firmware/fixup.dat boot/firmware/fixup4.dat

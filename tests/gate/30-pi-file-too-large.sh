# /boot/firmware/start4.elf has 67 108 864 bytes, but bootloaders of before 2025-09 load 67 107 840; take another or none
# tree: arm64
truncate -s 64M boot/firmware/start4.elf

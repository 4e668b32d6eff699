# a worker needs * MiB of RAM (image * MiB, initramfs * MiB, its files on tmpfs 600 MiB, the worker's first programs 64 MiB, kernel about * MiB), --min-ram says 640 MiB: make the image smaller, or name the RAM that your machines have
# ramboot: --min-ram 640M
mkdir -p var/lib/docker
truncate -s 600M var/lib/docker/layer

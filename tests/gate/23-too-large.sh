# a worker needs * MiB of RAM (image 1 MiB, initramfs * MiB, the worker's first programs 64 MiB, kernel about * MiB), --min-ram says 128 MiB: make the image smaller, or name the RAM that your machines have
# ramboot: --min-ram 128M

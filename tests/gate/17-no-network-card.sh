# the kernel 6.1.0-56-amd64 has no driver of a wired network card, neither as a module nor built in: no worker could fetch the image; install all of its modules and run depmod -b ROOT 6.1.0-56-amd64
echo kernel/lib/needed.ko: >lib/modules/6.1.0-56-amd64/modules.dep

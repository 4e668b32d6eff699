# no kernel in the image has its modules: there are none, but modules 6.1.0-56-amd64; install the package that belongs to the kernel, or give --kernel and --modules
rm boot/vmlinuz-6.1.0-56-amd64

# no kernel 7.0 with modules in the image; it has 6.1.0-56-amd64: give one of these as --kernel-version
# ramboot: --kernel-version 7.0

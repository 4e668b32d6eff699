# no kernel in the image has its modules: /lib/modules/6.1.0-56-amd64 has no modules.dep; run depmod -b ROOT 6.1.0-56-amd64 before the image is made
rm lib/modules/6.1.0-56-amd64/modules.dep

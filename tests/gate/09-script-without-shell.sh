# /sbin/init is a script for /bin/sh, which is not in the image: install the package it comes with
rm -f sbin/init bin/sh
printf '#!/bin/sh\nexec sleep 1000\n' >sbin/init
chmod 755 sbin/init

# /sbin/init is a link that leads back to itself; there is no executable /lib/systemd/systemd or /init either
rm usr/lib/systemd/systemd
ln -sf init sbin/init

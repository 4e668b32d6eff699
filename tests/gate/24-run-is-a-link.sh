# /run is a symbolic link to /var/run: /init mounts there; make it an empty folder
rmdir run
ln -s /var/run run

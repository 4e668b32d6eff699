# /proc is no folder: /init mounts there; make it an empty folder
rmdir proc
: >proc

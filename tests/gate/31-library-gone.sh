# /sbin/init (a link to /usr/lib/systemd/systemd) needs libc.so.6, which the image has in no folder: install the packages of these libraries
# host: x86_64
# A program of this machine, and what it is linked with but the C library.
cp /bin/true lib/systemd/systemd
for library in $(ldd /bin/true | grep -o '/[^ ]*'); do
    case $library in
    */libc.so.6) ;;
    *) mkdir -p ".$(dirname "$library")"; cp -L "$library" ".$library" ;;
    esac
done

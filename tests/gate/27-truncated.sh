# it is truncated: its superblock says * bytes, the file has *
# cut

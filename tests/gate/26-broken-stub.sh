# /usr/lib/systemd/boot/efi/linuxx64.efi.stub in the image: EFI stub: it is no EFI program: it does not begin with MZ; take it out, or install systemd-boot-efi again
mkdir -p usr/lib/systemd/boot/efi
echo none >usr/lib/systemd/boot/efi/linuxx64.efi.stub

//! A machine without a disk: memory, one NIC with its boot ROM, and a serial line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use ramboot_wire::Arch;

use crate::case::Case;
use crate::console::Console;
use crate::direct::Given;
use crate::firmware::Firmware;
pub(crate) use crate::firmware::First;
use crate::lan::{Lan, Tap};
use crate::monitor::Monitor;
use crate::process::{Process, command};
use crate::transcript::Transcript;
use crate::{ANSWER, wait};

/// A machine that is switched off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    memory: u32,
    nic: &'static str,
    firmware: Firmware,
    loads: Option<&'static str>,
    clock: Option<&'static str>,
    late: Option<Duration>,
    has_screen: bool,
    again: Option<u32>,
}

/// A machine whose firmware has done its part elsewhere: kernel, initramfs, device tree and command line are in its memory.
#[derive(Debug)]
pub(crate) struct HandedOver {
    board: Board,
    kernel: PathBuf,
    initramfs: PathBuf,
    device_tree: PathBuf,
    cmdline: String,
    mac: [u8; 6],
    disk: Option<PathBuf>,
}

/// Boards that start such a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Board {
    /// Raspberry Pi 3B.
    Pi3,
    /// QEMU's own, which brings its own device tree.
    Virt,
    /// A PC with so many MiB, and no device tree.
    Pc(u32),
}

/// A machine that is switched on; dropped, its plug is pulled.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its serial line.
    pub(crate) console: Console,
    /// Its network cable.
    pub(crate) tap: Tap,
    /// Its knobs.
    pub(crate) monitor: Monitor,
    process: Process,
}

impl Machine {
    /// A PC with a BIOS, so much memory, and a virtio NIC.
    pub(crate) const fn bios(mebibytes: u32) -> Self {
        Self {
            memory: mebibytes,
            nic: "virtio-net-pci",
            firmware: Firmware::Bios,
            loads: None,
            clock: None,
            late: None,
            has_screen: false,
            again: None,
        }
    }

    /// One that was switched on before: with its MAC.
    pub(crate) const fn again(self, number: u32) -> Self {
        Self {
            again: Some(number),
            ..self
        }
    }

    /// The same without the firmware's 20 s: it has in its memory what the manager, which must be there when it is
    /// switched on, gives its MAC.
    pub(crate) const fn direct(mebibytes: u32) -> Self {
        Self {
            nic: "virtio-net-pci,romfile=",
            firmware: Firmware::Done(str::to_owned),
            ..Self::bios(mebibytes)
        }
    }

    /// The same with a command line that was changed on the way.
    pub(crate) const fn changing(self, cmdline: fn(&str) -> String) -> Self {
        Self {
            firmware: Firmware::Done(cmdline),
            ..self
        }
    }

    /// The same with this time on its clock, as ISO 8601 has it.
    pub(crate) const fn clock(self, time: &'static str) -> Self {
        Self {
            clock: Some(time),
            ..self
        }
    }

    /// The same far away: every frame from and to it waits this long. (QEMU does it, since not every kernel has netem.)
    pub(crate) const fn late(self, by: Duration) -> Self {
        Self {
            late: Some(by),
            ..self
        }
    }

    /// A PC or an arm64 machine with UEFI, which boots by its own network stack and not by the NIC's ROM.
    pub(crate) const fn uefi(arch: Arch, first: First, mebibytes: u32) -> Self {
        Self {
            // An empty name: no ROM.
            nic: "virtio-net-pci,romfile=",
            firmware: Firmware::Uefi(arch, first),
            ..Self::bios(mebibytes)
        }
    }

    /// The same with an Intel NIC.
    pub(crate) const fn e1000(self) -> Self {
        Self {
            nic: "e1000",
            ..self
        }
    }

    /// The same with a VGA card, which is then where a BIOS and its ROMs speak.
    pub(crate) const fn with_screen(self) -> Self {
        Self {
            has_screen: true,
            ..self
        }
    }

    /// The same, told to load this by TFTP, whatever DHCP says: what a ROM that is not iPXE does. QEMU has none, so
    /// Debian's own iPXE kernel stands in for its TFTP client, and for the UNDI that undionly.kpxe drives the NIC by.
    pub(crate) const fn loading(self, url: &'static str) -> Self {
        Self {
            loads: Some(url),
            ..self
        }
    }

    /// A board with these files in its memory.
    pub(crate) fn handed_over(
        board: Board,
        kernel: &Path,
        initramfs: &Path,
        device_tree: &Path,
        cmdline: &str,
        mac: [u8; 6],
    ) -> HandedOver {
        HandedOver {
            board,
            kernel: kernel.to_owned(),
            initramfs: initramfs.to_owned(),
            device_tree: device_tree.to_owned(),
            cmdline: cmdline.to_owned(),
            mac,
            disk: None,
        }
    }

    /// Switches it on: its firmware can boot from the network and from nothing else.
    pub(crate) fn boot(self, case: &Case, lan: &Lan) -> Result<Worker> {
        let tap = lan.tap()?;
        let netdev = format!("tap,id=n,ifname={},script=no,downscript=no", tap.name);
        let number = self.again.unwrap_or(tap.number);
        let mac = format!("52:54:00:12:34:{number:02x}");
        let device = format!("{},netdev=n,mac={mac}", self.nic);
        let mut qemu = self.firmware.board();
        if self.has_screen {
            // Options of one board are put together, the last one wins.
            qemu.args(["-machine", "graphics=on", "-device", "VGA"]);
        }
        if let Firmware::Done(change) = self.firmware {
            let given = Given::fetch(case, &mac)?;
            qemu.args(["-append", &change(&given.cmdline), "-kernel"])
                .arg(&given.kernel)
                .arg("-initrd")
                .arg(&given.initramfs);
        }
        if let Some(time) = self.clock {
            qemu.args(["-rtc", &format!("base={time}")]);
        }
        if let Some(by) = self.late {
            let interval = by.as_micros();
            let filter = format!("filter-buffer,id=late,netdev=n,queue=all,interval={interval}");
            qemu.args(["-object", &filter]);
        }
        if let Some(url) = self.loads {
            let script = format!("#!ipxe\ndhcp || shell\nchain {url} || shell\n");
            std::fs::write(case.dir().join("loads.ipxe"), script)?;
            qemu.args([
                "-kernel",
                "/usr/lib/ipxe/ipxe.lkrn",
                "-initrd",
                "loads.ipxe",
            ]);
        }
        qemu.args(["-nodefaults", "-smp", "2", "-m", &self.memory.to_string()])
            .args(["-chardev", "stdio,id=console,signal=off"])
            .args(["-serial", "chardev:console"])
            .args(["-netdev", &netdev, "-device", &device]);
        switch_on(case, tap, qemu)
    }
}

impl HandedOver {
    /// The same with a disk of this content.
    pub(crate) fn with_disk(self, disk: &Path) -> Self {
        Self {
            disk: Some(disk.to_owned()),
            ..self
        }
    }

    /// Starts the kernel.
    pub(crate) fn boot(self, case: &Case, lan: &Lan) -> Result<Worker> {
        let tap = lan.tap()?;
        let netdev = format!("tap,id=n,ifname={},script=no,downscript=no", tap.name);
        let [a, b, c, d, e, f] = self.mac;
        let mac = format!("netdev=n,mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        let mut qemu = command(match self.board {
            Board::Pi3 | Board::Virt => "qemu-system-aarch64",
            Board::Pc(_) => "qemu-system-x86_64",
        });
        match self.board {
            // The console is the second UART, as the first one is the Bluetooth chip's; the NIC hangs on USB.
            Board::Pi3 => qemu
                .args(["-machine", "raspi3b", "-dtb"])
                .arg(&self.device_tree)
                .args(["-serial", "null", "-serial", "stdio", "-monitor", "none"])
                .args(["-usb", "-device", &format!("usb-net,{mac}")]),
            Board::Virt => qemu
                .args(["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2"])
                .args(["-m", "1024", "-serial", "stdio", "-monitor", "none"])
                .args(["-device", &format!("virtio-net-pci,romfile=,{mac}")]),
            Board::Pc(mebibytes) => qemu
                .args(["-machine", "q35,graphics=off", "-nodefaults", "-smp", "2"])
                .args(["-m", &mebibytes.to_string()])
                .args(["-chardev", "stdio,id=console,signal=off"])
                .args(["-serial", "chardev:console"])
                .args(["-device", &format!("virtio-net-pci,romfile=,{mac}")]),
        };
        if let Some(disk) = &self.disk {
            let disk = format!("file={},if=virtio,format=raw", disk.display());
            qemu.args(["-drive", &disk]);
        }
        qemu.args(["-netdev", &netdev, "-append", &self.cmdline])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs);
        switch_on(case, tap, qemu)
    }
}

/// Starts QEMU for a machine whose serial line is its standard input and output.
pub(crate) fn switch_on(case: &Case, tap: Tap, mut qemu: Command) -> Result<Worker> {
    let name = format!("worker{}", tap.number);
    // A socket's path has at most 107 bytes: not in the case's folder, which may lie deep.
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("qmp");
    let mut process = Process::spawn(
        &name,
        qemu
            // KVM is not everywhere, and where it is emulated it hangs in firmware.
            .args([
                "-accel",
                "tcg,thread=multi",
                "-no-user-config",
                "-no-reboot",
            ])
            .args(["-display", "none", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .current_dir(case.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(case.file(&format!("{name}.qemu.log"))?),
    )?;
    let log = case.file(&format!("{name}.console.log"))?;
    let said = Transcript::follow(&name, process.stdout()?, Some(log));
    let console = Console::new(said, process.stdin()?);
    let monitor = Monitor::connect(&socket)?;
    Ok(Worker {
        console,
        tap,
        monitor,
        process,
    })
}

impl Worker {
    /// Waits until the machine resets or switches off itself, which ends it here; gives QEMU's word for why.
    pub(crate) fn reset(&mut self, limit: Duration) -> Result<String> {
        let event = self.monitor.event("SHUTDOWN", limit)?;
        let reason = event["data"]["reason"].as_str();
        let reason = reason.with_context(|| format!("no reason in {event}"))?;
        wait::until("QEMU to end", ANSWER, || self.process.ended())?;
        Ok(reason.to_owned())
    }
}

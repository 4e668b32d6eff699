//! A machine without a disk: memory, one NIC with its boot ROM, and a serial line.

use std::process::Stdio;

use anyhow::Result;

use crate::case::Case;
use crate::console::Console;
use crate::lan::{Lan, Tap};
use crate::process::{Process, command};
use crate::transcript::Transcript;

/// A machine that is switched off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    memory: u32,
    nic: &'static str,
    loads: Option<&'static str>,
}

/// A machine that is switched on; dropped, its plug is pulled.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its serial line.
    pub(crate) console: Console,
    /// Its network cable.
    pub(crate) tap: Tap,
    _process: Process,
}

impl Machine {
    /// A PC with a BIOS, so much memory, and a virtio NIC.
    pub(crate) const fn bios(mebibytes: u32) -> Self {
        Self {
            memory: mebibytes,
            nic: "virtio-net-pci",
            loads: None,
        }
    }

    /// The same with an Intel NIC.
    pub(crate) const fn e1000(self) -> Self {
        Self {
            nic: "e1000",
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

    /// Switches it on: its firmware can boot from the network and from nothing else.
    pub(crate) fn boot(self, case: &Case, lan: &Lan) -> Result<Worker> {
        let tap = lan.tap()?;
        let name = format!("worker{}", tap.number);
        let netdev = format!("tap,id=n,ifname={},script=no,downscript=no", tap.name);
        let device = format!(
            "{},netdev=n,mac=52:54:00:12:34:{:02x}",
            self.nic, tap.number
        );
        let mut qemu = command("qemu-system-x86_64");
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
        let mut process = Process::spawn(
            &name,
            qemu
                // KVM is not everywhere, and where it is emulated it hangs in firmware.
                .args(["-accel", "tcg,thread=multi", "-smp", "2"])
                .args(["-nodefaults", "-no-user-config", "-no-reboot"])
                // Without graphics SeaBIOS and the NIC's ROM talk to the serial line.
                .args(["-machine", "q35,graphics=off", "-display", "none"])
                .args(["-m", &self.memory.to_string()])
                .args(["-chardev", "stdio,id=console,signal=off"])
                .args(["-serial", "chardev:console"])
                .args(["-netdev", &netdev, "-device", &device])
                .args(["-boot", "n"])
                .current_dir(case.dir())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(case.file(&format!("{name}.qemu.log"))?),
        )?;
        let log = case.file(&format!("{name}.console.log"))?;
        let said = Transcript::follow(&name, process.stdout()?, Some(log));
        let console = Console::new(said, process.stdin()?);
        Ok(Worker {
            console,
            tap,
            _process: process,
        })
    }
}

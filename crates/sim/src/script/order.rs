//! The order in which each firmware asks, written down as it asks.
//!
//! Sources: boot logs of pipxe (Pi 4, 2021-10), Ubuntu (2021-07), PexMor (Pi 3), TinyOS (Pi 5, 2026), and
//! raspberrypi/firmware#935, #1362, #1605.

use super::{Next, Run, Step, fail};
use crate::config_txt::Config;
use crate::outcome::Failure;
use crate::params::{Model, Params};

impl Run<'_> {
    pub(super) fn rom(&mut self) -> Step<()> {
        self.required("bootcode.bin".to_owned(), "the ROM runs it")?;
        self.read("bootsig.bin".to_owned())?;
        Err(Next::Bootcode.into())
    }

    /// bootcode.bin, then start.elf.
    pub(super) fn bootcode(&mut self) -> Step<()> {
        let folder = self.params.folder();
        self.lenient = true;
        if self.probe(format!("{folder}start.elf"))? {
            self.prefix = folder;
        }
        self.read(self.at("autoboot.txt"))?;
        let config = self.config("config.txt", false, Self::read)?;
        self.read(self.at("recovery.elf"))?;
        let (start, fixup) = variant(&config, "start", "_cd", "_x", "_db");
        self.required(self.at(&start), "the GPU runs it")?;
        self.required(self.at(&fixup), "it goes with start.elf")?;
        self.start_elf()
    }

    /// A 4's EEPROM, then start4.elf.
    pub(super) fn four(&mut self) -> Step<()> {
        let folder = self.params.folder();
        let there = self.probe(format!("{folder}start4.elf"))?
            || self.probe(format!("{folder}start.elf"))?;
        if there {
            self.prefix = folder;
        }
        let config = self.config("config.txt", false, Self::read)?;
        // Boards since r1.4 have the VL805's firmware in the bootloader's EEPROM.
        if self.params.board() == 0x11 && self.params.revision & 0xf < 4 {
            self.read(self.at("vl805.sig"))?;
        }
        self.self_update()?;
        self.read(self.at("recover4.elf"))?;
        self.read(self.at("recovery.elf"))?;
        let (start, fixup) = variant(&config, "start4", "cd", "x", "db");
        self.required(self.at(&start), "the GPU runs it")?;
        self.required(self.at(&fixup), "it goes with start4.elf")?;
        self.lenient = true;
        self.start_elf()
    }

    /// The image is fetched if there is something about one. That it would be written, and the board start again, is left
    /// out: the boot goes on.
    fn self_update(&mut self) -> Step<()> {
        if self.read(self.at("pieeprom.sig"))?.is_some() {
            self.read(self.at("pieeprom.upd"))?;
        }
        Ok(())
    }

    /// start.elf and start4.elf.
    fn start_elf(&mut self) -> Step<()> {
        self.read(self.at("recovery.elf"))?;
        self.config("config.txt", true, Self::twice)?;
        self.read(self.at("dt-blob.bin"))?;
        self.read(self.at("recovery.elf"))?;
        let config = self.config("config.txt", true, Self::twice)?;
        self.read(self.at("bootcfg.txt"))?;
        let kernels = kernels(self.params, &config);
        self.initramfs(&config, kernels.first().map(String::as_str))?;
        let tree = device_tree(self.params, &config);
        self.device_tree(&config, &tree)?;
        self.twice(self.at("overlays/overlay_map.dtb"))?;
        let config = self.config("config.txt", true, Self::twice)?;
        self.overlays(&config, Self::twice)?;
        let name = config.get("cmdline").unwrap_or("cmdline.txt");
        let cmdline = self.twice(self.os(&config, name))?;
        self.cmdline(&config, name, cmdline)?;
        for name in [
            "recovery8.img",
            "recovery8-32.img",
            "recovery7.img",
            "recovery.img",
        ] {
            self.probe(self.at(name))?;
        }
        let kernel = self.first_kernel(&config, &kernels)?;
        let stub = match self.params.model {
            Model::Ee4 => "armstub8-gic.bin",
            _ if kernel.contains("kernel7") => "armstub8-32.bin",
            _ => "armstub8.bin",
        };
        self.read(self.at(config.get("armstub").unwrap_or(stub)))?;
        self.required(kernel.clone(), "the kernel")?;
        self.loaded.kernel = kernel;
        Ok(())
    }

    /// A 5's EEPROM, which has start.elf in it.
    pub(super) fn five(&mut self) -> Step<()> {
        self.prefix = self.params.folder();
        let first = self.at("config.txt");
        let config = if self.read(first.clone())?.is_some() {
            self.parse(&first, false)?
        } else {
            self.prefix.clear();
            self.config("config.txt", false, Self::read)?
        };
        self.self_update()?;
        let tree = device_tree(self.params, &config);
        if !config.is("os_check", "0") && !self.probe(self.os(&config, &tree))? {
            let why = "os_check: a system for the 5 has it";
            let path = self.os(&config, &tree);
            return fail(Failure::Missing { path, why });
        }
        let slash = if self.params.quirks.double_slash {
            "/"
        } else {
            ""
        };
        let again = format!("{slash}config.txt");
        let config = self.config(&again, true, Self::twice)?;
        let kernel = self.first_kernel(&config, &kernels(self.params, &config))?;
        let name = kernel.rsplit('/').next().unwrap_or_default().to_owned();
        self.initramfs(&config, Some(&name))?;
        self.device_tree(&config, &tree)?;
        self.read(self.at("overlays/overlay_map.dtb"))?;
        if self.params.d0_silicon {
            self.read(self.at("overlays/bcm2712d0.dtbo"))?;
        }
        self.read(self.at("overlays/hat_map.dtb"))?;
        let config = self.config(&again, true, Self::read)?;
        self.overlays(&config, Self::read)?;
        let name = config.get("cmdline").unwrap_or("cmdline.txt");
        let path = self.os(&config, &format!("{slash}{name}"));
        let cmdline = self.read(path)?;
        self.cmdline(&config, name, cmdline)?;
        self.read(self.at(config.get("armstub").unwrap_or("armstub8-2712.bin")))?;
        self.required(kernel.clone(), "the kernel")?;
        self.loaded.kernel = kernel;
        Ok(())
    }
}

/// Which start.elf, and its fixup.dat.
fn variant(config: &Config, stem: &str, cut: &str, camera: &str, debug: &str) -> (String, String) {
    let chosen = if config.is("gpu_mem", "16") {
        cut
    } else if config.is("start_x", "1") {
        camera
    } else if config.is("start_debug", "1") {
        debug
    } else {
        ""
    };
    let digit = stem.strip_prefix("start").unwrap_or_default();
    let start = format!("{stem}{chosen}.elf");
    let fixup = format!("fixup{digit}{chosen}.dat");
    (
        config.get("start_file").unwrap_or(&start).to_owned(),
        config.get("fixup_file").unwrap_or(&fixup).to_owned(),
    )
}

/// The kernels tried, in order.
fn kernels(params: &Params, config: &Config) -> Vec<String> {
    if let Some(name) = config.get("kernel") {
        return vec![name.to_owned()];
    }
    let names: &[&str] = match params.model {
        Model::Ee5 => &["kernel_2712.img", "kernel8.img"],
        Model::Ee4 => &["kernel8.img", "kernel8-32.img", "kernel7l.img"],
        _ => &["kernel8.img", "kernel8-32.img", "kernel7.img"],
    };
    let wide = !config.is("arm_64bit", "0");
    let names = names.iter().filter(|&&name| wide || name.contains('7'));
    names.map(|&name| name.to_owned()).collect()
}

fn device_tree(params: &Params, config: &Config) -> String {
    if let Some(name) = config.get("device_tree") {
        return name.to_owned();
    }
    let upstream = config.is("upstream_kernel", "1");
    let name = match (params.model, params.board(), upstream) {
        (Model::Rom3bPlus, _, true) => "bcm2837-rpi-3-b-plus",
        (Model::Rom3bPlus, _, false) => "bcm2710-rpi-3-b-plus",
        (Model::Rom3b | Model::Bc3, _, true) => "bcm2837-rpi-3-b",
        (Model::Rom3b | Model::Bc3, _, false) => "bcm2710-rpi-3-b",
        (Model::Ee4, 0x13, _) => "bcm2711-rpi-400",
        (Model::Ee4, 0x14, _) => "bcm2711-rpi-cm4",
        (Model::Ee4, 0x15, _) => "bcm2711-rpi-cm4s",
        (Model::Ee4, _, _) => "bcm2711-rpi-4-b",
        (Model::Ee5, 0x18, _) => "bcm2712-rpi-cm5-cm5io",
        (Model::Ee5, _, _) => "bcm2712-rpi-5-b",
    };
    format!("{name}.dtb")
}

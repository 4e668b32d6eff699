//! What to do with a board so that it boots from the network, in plain words and commands to copy. Pure.
//!
//! Sources: Raspberry Pi's documentation (`boot-eeprom`, `eeprom-bootloader`, `boot-net`, `cm-bootloader`,
//! `network-boot-raspberry-pi`) and the README files of raspberrypi/usbboot and raspberrypi/rpi-eeprom. None of it was tried on
//! a board here, and the text says so.

use clap::ValueEnum;

use super::chip::Chip;

/// A board, by the name people know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// Pi 2 v1.2
    #[value(name = "2b")]
    Pi2,
    /// Pi 3B
    #[value(name = "3b")]
    Pi3,
    /// Pi 3B+
    #[value(name = "3b+", alias = "3bplus")]
    Pi3Plus,
    /// Pi 4B
    #[value(name = "4b", alias = "4")]
    Pi4,
    /// Pi 400
    #[value(name = "400")]
    Pi400,
    /// Compute Module 4
    #[value(name = "cm4")]
    Cm4,
    /// Pi 5
    #[value(name = "5", alias = "5b")]
    Pi5,
    /// Pi 500
    #[value(name = "500")]
    Pi500,
    /// Compute Module 5
    #[value(name = "cm5")]
    Cm5,
}

impl Model {
    const fn name(self) -> &'static str {
        match self {
            Self::Pi2 => "Pi 2 v1.2",
            Self::Pi3 => "Pi 3B",
            Self::Pi3Plus => "Pi 3B+",
            Self::Pi4 => "Pi 4B",
            Self::Pi400 => "Pi 400",
            Self::Cm4 => "CM4",
            Self::Pi5 => "Pi 5",
            Self::Pi500 => "Pi 500",
            Self::Cm5 => "CM5",
        }
    }

    const fn chip(self) -> Option<Chip> {
        match self {
            Self::Pi2 | Self::Pi3 | Self::Pi3Plus => None,
            Self::Pi4 | Self::Pi400 | Self::Cm4 => Some(Chip::Bcm2711),
            Self::Pi5 | Self::Pi500 | Self::Cm5 => Some(Chip::Bcm2712),
        }
    }
}

/// The steps for one board, or for all.
#[must_use]
pub fn steps(model: Option<Model>) -> String {
    let Some(model) = model else {
        let mut text = String::new();
        for alike in Model::value_variants().chunk_by(|a, b| ways(*a) == ways(*b)) {
            let names: Vec<&str> = alike.iter().map(|model| model.name()).collect();
            let ways = alike.first().map_or_else(String::new, |model| ways(*model));
            text += &format!("{}\n{ways}\n", names.join(", "));
        }
        return text + END;
    };
    format!("{}\n{}\n{END}", model.name(), ways(model))
}

/// The ways a board learns it.
fn ways(model: Model) -> String {
    let Some(chip) = model.chip() else {
        return without_eeprom(model).to_owned();
    };
    let card = "the card above helps then";
    let ways = match model {
        Model::Cm4 | Model::Cm5 => vec![
            MODULE.to_owned(),
            by_usb(chip, MODULE_USB),
            over_the_network("only USB helps then"),
        ],
        Model::Pi5 => vec![
            as_delivered(chip),
            RUNNING.to_owned(),
            by_card(chip),
            by_usb(chip, PI5_USB),
            over_the_network(card),
        ],
        _ => vec![
            as_delivered(chip),
            RUNNING.to_owned(),
            by_card(chip),
            over_the_network(card),
        ],
    };
    ways.join("\n")
}

fn without_eeprom(model: Model) -> &'static str {
    match model {
        Model::Pi3Plus => PI3_PLUS,
        _ => OTP,
    }
}

fn as_delivered(chip: Chip) -> String {
    let order = match chip {
        Chip::Bcm2711 => "0xf41",
        Chip::Bcm2712 => "0xf461",
    };
    format!(
        "  As delivered it does not try the network: BOOT_ORDER={order}. Any one of
  these ways changes that.
"
    )
}

/// Folders and files are named after the last digits of the chip.
fn digits(chip: Chip) -> &'static str {
    match chip {
        Chip::Bcm2711 => "2711",
        Chip::Bcm2712 => "2712",
    }
}

fn by_card(chip: Chip) -> String {
    let chip = digits(chip);
    format!(
        "  With an SD card, whatever the board boots now. On this machine:
      git clone --depth 1 https://github.com/raspberrypi/rpi-eeprom
      cd rpi-eeprom/firmware-{chip}/default && mkdir card && ls
      ramboot eeprom write pieeprom-DATE.bin -o card/pieeprom.bin --sig
      cp recovery.bin card/
    Format a card with one FAT32 partition and copy the three files of card/ to
    it, nothing else. Put it in, switch the board on, wait ten seconds and more:
    the green LED flashes quickly, and a screen turns green (red: it failed).
    Switch off, take the card out. The same card does the next board.
"
    )
}

fn by_usb(chip: Chip, how: &str) -> String {
    let folder = match chip {
        Chip::Bcm2711 => "recovery",
        Chip::Bcm2712 => "recovery5",
    };
    format!(
        "  By USB, from another Linux computer:
      sudo apt install git libusb-1.0-0-dev pkg-config build-essential
      git clone --recurse-submodules --shallow-submodules --depth=1 \\
          https://github.com/raspberrypi/usbboot
      cd usbboot && make && cd {folder}
      ramboot eeprom conf > boot.conf
      ./update-pieeprom.sh
      sudo ../rpiboot -d .
{how}"
    )
}

fn over_the_network(rescue: &str) -> String {
    format!(
        "  Over the network, once it boots from there, to change settings or version:
      ramboot eeprom offer pieeprom-DATE.bin --serial 5b154510
    At its next start the bootloader fetches the image, writes it and starts
    again. Without power in those seconds it may be left with half of one:
    {rescue}. A write-protected EEPROM stays as it is, and
    nobody is told.
"
    )
}

const PI3_PLUS: &str = "  \
  It boots from the network as delivered: no card, a cable, switch it on. It
  asks five times, 5 s apart, and then no more: start \"ramboot serve\" first.
";

const OTP: &str = "  \
  It tries the network only after a bit in the chip was burnt. THAT CANNOT BE
  UNDONE. Afterwards it still starts from a card if there is one that boots; if
  not, from USB, then from the network.
    Start it from a card with Raspberry Pi OS, and on it:
      echo program_usb_boot_mode=1 | sudo tee -a /boot/firmware/config.txt
      sudo reboot
      vcgencmd otp_dump | grep 17:           # must say 17:3020000a
      sudo sed -i '/^program_usb_boot_mode=1$/d' /boot/firmware/config.txt
      sudo poweroff
    The last but one keeps the card from burning it in each board it starts.
    Before Raspberry Pi OS 12 the file is /boot/config.txt. Then without the
    card: it asks five times, 5 s apart, and then no more, so start \"ramboot
    serve\" first.
";

const RUNNING: &str = "  \
  From Raspberry Pi OS on the board. On this machine:
      ramboot eeprom conf > boot.conf        # --first sd: a card stays in front
      scp boot.conf pi@ADDRESS:
    On the board:
      rpi-eeprom-config > before.conf        # to go back by --apply
      sudo rpi-eeprom-config --apply boot.conf
      sudo reboot                            # keep the power on
    To keep its other settings, make boot.conf on the board instead:
      { rpi-eeprom-config | grep -v ^BOOT_ORDER= ; \\
        printf '[all]\\nBOOT_ORDER=0xf2\\n'; } > boot.conf
    From then on it does not start from its card (BOOT_ORDER=0xf2). Or, without
    a file: sudo raspi-config, Advanced Options, Boot Order, Network Boot: 0xf21
    (an SD card first).
";

const MODULE: &str = "  \
  Try it first: as delivered it is said to come to the network after all else
  has failed (a CM5 was seen with BOOT_ORDER=0xf2461). The bootloader of a
  compute module cannot be changed from a card or the eMMC.
";

const MODULE_USB: &str = "    \
    Before the last line: set the jumper nRPIBOOT (\"disable eMMC boot\"), leave
    EEPROM_nWP open, connect the USB cable. Afterwards take the jumper off.
";

const PI5_USB: &str = "    \
    Before the last line: take the power away, hold the power button and connect
    the board's USB-C to a USB 3 port of that computer, which powers it.
";

const END: &str = "\
The serial number, on a running board:
      grep Serial /proc/cpuinfo | cut -d ' ' -f 2 | cut -c 9-16
Whether it worked: \"ramboot serve\" logs each board that asks.
This is what Raspberry Pi documents; no board was at hand here to try it.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_board_gets_its_own_ways() {
        for (model, has, has_not) in [
            (Model::Pi2, "CANNOT BE\n  UNDONE", "eeprom"),
            (Model::Pi3, "17:3020000a", "eeprom"),
            (Model::Pi3Plus, "as delivered: no card", "otp_dump"),
            (Model::Pi4, "cd rpi-eeprom/firmware-2711/default", "2712"),
            (Model::Pi4, "BOOT_ORDER=0xf41.", "rpiboot"),
            (Model::Pi400, "--first sd", "rpiboot"),
            (Model::Pi5, "hold the power button", "nRPIBOOT"),
            (Model::Pi5, "cd recovery5\n", "2711"),
            (Model::Pi500, "BOOT_ORDER=0xf461.", "rpiboot"),
            (Model::Cm4, "cd recovery\n", "recovery.bin"),
            (Model::Cm5, "cd recovery5\n", "raspi-config"),
        ] {
            let text = steps(Some(model));
            assert!(text.contains(has), "{model:?}: {has}: {text}");
            assert!(!text.contains(has_not), "{model:?}: {has_not}: {text}");
            assert!(text.ends_with(END), "{model:?}");
        }
        let all = steps(None);
        let heads = all.lines().filter(|line| !line.starts_with(' '));
        let heads: Vec<&str> = heads.filter(|line| !line.is_empty()).collect();
        let want = [
            "Pi 2 v1.2, Pi 3B",
            "Pi 3B+",
            "Pi 4B, Pi 400",
            "CM4",
            "Pi 5",
            "Pi 500",
            "CM5",
        ];
        assert_eq!(&heads[..want.len()], want);
    }

    #[test]
    fn it_fits_eighty_columns() {
        for line in steps(None).lines() {
            assert!(line.len() <= 80 && line.is_ascii(), "{line}");
            assert_eq!(line, line.trim_end());
        }
    }
}

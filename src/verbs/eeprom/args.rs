//! `ramboot eeprom …`: what a user can say about bootloaders of Raspberry Pis.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::worker;
use crate::pi::eeprom::conf::Netconsole;
use crate::pi::eeprom::order::BootOrder;
use crate::pi::eeprom::steps::Model;
use crate::verbs::images::args::StateArg;

/// `ramboot eeprom`
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct EepromArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: EepromVerb,
}

const EXAMPLES: &str = "\
Examples:
  ramboot eeprom steps --model 4b
  ramboot eeprom conf > boot.conf
  ramboot eeprom write pieeprom-2026-09-25.bin -o pieeprom.bin --sig
  ramboot eeprom read pieeprom.bin
  ramboot eeprom offer pieeprom-2026-09-25.bin --serial 5b154510
  ramboot eeprom offers";

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum EepromVerb {
    /// Print the settings of a bootloader that boots from the network.
    ///
    /// The text is what "rpi-eeprom-config --apply FILE" takes on a board, and "--conf FILE" here.
    Conf(ConfArgs),
    /// Print what to do with a board so that it boots from the network.
    Steps(StepsArgs),
    /// Make an image of a bootloader with other settings.
    ///
    /// The settings are replaced and all else is kept, byte for byte: what "rpi-eeprom-config --config" does, on any machine.
    /// What is no image, or a damaged one, is refused; so is one whose settings are signed.
    Write(WriteArgs),
    /// Print the settings in an image.
    Read(ReadArgs),
    /// Let single boards take an image when they next boot from the network.
    ///
    /// "ramboot serve" answers what each bootloader asks for when it boots from the network, SERIAL/pieeprom.sig and
    /// SERIAL/pieeprom.upd, for the boards named here and for no other. A board whose chip the image is not for gets nothing,
    /// nor one whose chip is not known: it must have said it by DHCP to this "ramboot serve".
    ///
    /// The bootloader writes what was offered later than what it wrote last, and starts again. Do not take its power away
    /// meanwhile. It must allow that (ENABLE_SELF_UPDATE, which is the default, since 2021), and ask by serial number
    /// (TFTP_PREFIX=0, the default); a board for which no image is published asks in the root instead. A write-protected
    /// EEPROM stays as it is, and nobody is told. The VL805, the USB chip of an early Pi 4B, is not updated by this.
    Offer(OfferArgs),
    /// Take such an offer back.
    ///
    /// A board that has taken it keeps it.
    Withdraw(WithdrawArgs),
    /// Show which boards are offered what.
    Offers(OffersArgs),
}

/// `ramboot eeprom conf`
#[derive(Debug, Args)]
#[command(after_long_help = ORDER_HELP)]
pub struct ConfArgs {
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Settings made of flags.
#[derive(Debug, Args)]
pub struct Settings {
    /// The ways to boot, a digit each, read from the right [default: 0xf2].
    #[arg(long, value_name = "HEX", conflicts_with = "first")]
    pub order: Option<BootOrder>,
    /// The network, then an SD card (0xf12), or the other way round (0xf21).
    #[arg(long, value_name = "WHAT")]
    pub first: Option<First>,
    /// Have the bootloader send its log as UDP to port 6666 of this address, for "tcpdump -A udp port 6666": it is
    /// addressed to no MAC, so a program that listens gets nothing. Or the value of NETCONSOLE as it is to stand there,
    /// which may name a MAC. The bootloader waits for the cable's link then.
    #[arg(long, value_name = "IP")]
    pub netconsole: Option<Netconsole>,
}

const ORDER_HELP: &str = "\
Digits of --order, tried from the right to the left:
  1  SD card, or eMMC of a compute module
  2  network (TFTP): ramboot
  3  USB from another computer (rpiboot); nothing after it is tried
  4  USB stick or disk
  5  USB 2.0 stick or disk at the USB-C socket (not on a Pi 5)
  6  NVMe (CM4, CM5, Pi 5, 500+)
  7  HTTP; takes signed images only, which ramboot does not make
  e  stop
  f  again from the first

  0xf2    network, for ever: a worker without a card
  0xf12   network first; a card as rescue, half a minute later
  0xf21   card first: put one in to have it boot something else
  0xf41   as a Pi 4 is delivered: card, USB. A Pi 5: 0xf461

Time limits are the documented defaults. BOOT_WATCHDOG_TIMEOUT starts a board
again that has not come to its kernel after 300 s; old bootloaders pass over it.";

/// What a board tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum First {
    /// 0xf12
    Network,
    /// 0xf21
    Sd,
}

impl Settings {
    /// The boot order that was said, in one way or the other.
    #[must_use]
    pub fn order(&self) -> BootOrder {
        match self.first {
            Some(First::Network) => BootOrder::NETWORK_FIRST,
            Some(First::Sd) => BootOrder::SD_FIRST,
            None => self.order.unwrap_or(BootOrder::NETWORK_ONLY),
        }
    }
}

/// `ramboot eeprom steps`
#[derive(Debug, Args)]
pub struct StepsArgs {
    /// Of this board only.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<Model>,
}

/// `ramboot eeprom write`
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// An image of a bootloader's EEPROM, as Raspberry Pi publishes them: pieeprom-DATE.bin.
    pub image: PathBuf,
    /// The image to write; one that is there is replaced when the new one is complete.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The settings [default: what "ramboot eeprom conf" prints].
    #[arg(long, value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// Also write the digest beside it that recovery.bin and bootloaders want: pieeprom.sig for -o pieeprom.bin.
    #[arg(long)]
    pub sig: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot eeprom read`
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// An image of a bootloader's EEPROM.
    pub image: PathBuf,
    /// Print the settings, which board it is for and which files are in it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot eeprom offer`
#[derive(Debug, Args)]
pub struct OfferArgs {
    /// An image of a bootloader's EEPROM, as Raspberry Pi publishes them: pieeprom-DATE.bin.
    pub image: PathBuf,
    /// The board's serial number, as /proc/cpuinfo ends with and the log of "ramboot serve" says; may be given several
    /// times.
    #[arg(long, value_name = "SERIAL", required = true)]
    pub serial: Vec<Serial>,
    /// The settings [default: what "ramboot eeprom conf" prints].
    #[arg(long, value_name = "FILE", conflicts_with = "as_is")]
    pub conf: Option<PathBuf>,
    /// Leave the settings that are in the image.
    #[arg(long)]
    pub as_is: bool,
    /// Offer it though a board with these settings never boots from the network again.
    #[arg(long)]
    pub force: bool,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot eeprom withdraw`
#[derive(Debug, Args)]
pub struct WithdrawArgs {
    /// The board's serial number; may be given several times.
    #[arg(long, value_name = "SERIAL", required = true)]
    pub serial: Vec<Serial>,
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `ramboot eeprom offers`
#[derive(Debug, Args)]
pub struct OffersArgs {
    /// Where the store is.
    #[command(flatten)]
    pub state: StateArg,
    /// Print all of it as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The low 32 bits of a Raspberry Pi's serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(pub u32);

impl FromStr for Serial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        worker::serial(text.to_owned()).map(Self)
    }
}

//! The command line: one variant a verb, whose arguments are in the verb's own room.

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::serve::args::ServeArgs;
use crate::verbs::build::args::BuildArgs;
use crate::verbs::doctor::args::DoctorArgs;
use crate::verbs::eeprom::args::EepromArgs;
use crate::verbs::images::args::{GcArgs, ImagesArgs, ProfileArgs, RollbackArgs, UnpublishArgs};
use crate::verbs::nodes::args::NodesArgs;
use crate::verbs::publish::args::PublishArgs;

/// Boots machines without a disk from one verified squashfs in RAM.
///
/// First `ramboot build SOURCE -o image.sqfs`, then `ramboot publish image.sqfs`, then `ramboot serve`, then switch a machine on that boots from the network.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 80,
    help_expected = true,
    propagate_version = true
)]
pub struct Cli {
    /// How much to log: error, warn, info, debug, or a list such as info,ramboot::dhcp=debug.
    #[arg(
        long,
        global = true,
        env = "RAMBOOT_LOG",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log: EnvFilter,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs. What stands over one is its help: with both, clap shows nothing of what stands over its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an image of any root file system: a folder, a tar, a container image, a disk image.
    ///
    /// Owners, modes, devices, hard links, extended attributes and file capabilities come over as they are; root is not needed.
    /// The same source makes the same image, byte for byte. mksquashfs does the packing (apt install squashfs-tools).
    ///
    /// What would stop or spoil a machine whose root is in RAM is named: lines of fstab for disks, swap files, first-boot
    /// resizing. --fix switches it off in the image.
    Build(BuildArgs),
    /// Check an image, make its boot files and let workers boot it.
    Publish(PublishArgs),
    /// Answer machines that boot from the network.
    Serve(ServeArgs),
    /// Show the machines that boot here: who is up, who boots, who is in trouble and why.
    ///
    /// A star after an image says that the machine would boot another one if it were switched off and on. A manager that was
    /// started anew hears of running machines by their heartbeats, within 40 seconds.
    Nodes(NodesArgs),
    /// Show what is published: names, images, kernels, and what machines boot now.
    ///
    /// HOT is what a worker with mode = "stream" waits for before the image starts: there is such a column as soon as one has booted
    /// an image so, and `ramboot profile` says more.
    Images(ImagesArgs),
    /// Show what boots of an image read of it, as workers that streamed it recorded.
    ///
    /// A worker with mode = "stream" tells which parts of its image it read until it was up. What any boot read before its network was
    /// as it stays is hot: the next worker that streams waits for that, and fetches the rest while the image runs already. The
    /// last eight recordings are kept, one of each machine. An image of which nothing is known is fetched wholly before it starts.
    Profile(ProfileArgs),
    /// Let machines boot what a name stood for before.
    ///
    /// Writes a new generation that is an old one again: nothing is lost, and machines boot it at their next start. Image,
    /// kernel and initramfs are read and compared with their digests before.
    Rollback(RollbackArgs),
    /// Take a name away, so that no machine finds it any more.
    ///
    /// The name's generations are gone for good, all at once; its images stay until "ramboot gc". Machines that run it, or are
    /// fetching it, are not disturbed.
    Unpublish(UnpublishArgs),
    /// Remove old generations, and the images that nothing needs then.
    ///
    /// Never removed: what a name stands for, what a generation that is kept names, what is being published, and what a
    /// manager serves (a machine asked for it in the last ten minutes).
    Gc(GcArgs),
    /// Have Raspberry Pis boot from the network: settings, images and steps for their bootloaders.
    ///
    /// A Pi 4, 400, 5, 500 or compute module boots from the network if its bootloader's settings say so; as delivered most do
    /// not. "steps" says what to do for which board, the others make what is needed for it. Images of bootloaders
    /// (pieeprom-DATE.bin) are published at github.com/raspberrypi/rpi-eeprom.
    Eeprom(EepromArgs),
    /// Say what keeps machines from booting here, and what to do about it.
    ///
    /// Looks at ports, interface, other DHCP servers, firewall rules, iPXE's files and the store; then switches a simulated Raspberry
    /// Pi and a simulated PC on, and says step by step what the manager that runs here makes of them. Changes nothing. As root it
    /// sees all of it; without, it says what it could not look at. Exit code 1 if something keeps machines from booting.
    Doctor(DoctorArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}

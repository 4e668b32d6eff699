//! What one Pi boots: an image's files, and two texts written for this machine. Pure.

use std::sync::Arc;

use ramboot_wire::{BootArgs, BootFiles};

use super::config_txt::{Cmdline, ConfigTxtError, Names, config_txt};
use super::files::Files;
use crate::store::PiBoot;
use crate::store::rope::Rope;

/// The file that decides what boots.
pub(super) const CONFIG: &str = "config.txt";
/// Default of config.txt's `cmdline=`, for who does not know the key.
pub(super) const CMDLINE: &str = "cmdline.txt";

/// The boot files of an image.
#[derive(Debug, Clone)]
pub struct Content {
    /// [`PiBoot::files`], read.
    pub files: Arc<Files>,
    /// [`PiBoot::kernel`]
    pub kernel: Rope,
    /// [`PiBoot::initrd`]
    pub initrd: Rope,
}

/// What one machine boots. Cloning costs counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PiChoice {
    files: Arc<Files>,
    /// What is not in [`Files`]: both texts, and what config.txt names.
    own: [(String, Rope); 5],
}

impl PiChoice {
    /// Writes config.txt and the command line for one machine: `/init` is told `args`, the kernel `extra`.
    ///
    /// # Errors
    /// The publication or the command line holds what firmware would not read as it is.
    pub fn new(
        pi: &PiBoot,
        content: Content,
        args: &BootArgs,
        extra: &str,
    ) -> Result<Self, ConfigTxtError> {
        let args = BootArgs {
            boot: Some(BootFiles {
                kernel: pi.kernel.name.clone(),
                initrd: pi.initrd.name.clone(),
            }),
            ..args.clone()
        };
        let cmdline = Cmdline::new(&args, extra, pi.upstream)?;
        let names = Names {
            kernel: &pi.kernel.name,
            initrd: &pi.initrd.name,
            cmdline: &cmdline.name,
        };
        let config = config_txt(&pi.config, pi.upstream, &names)?;
        let text = Rope::from(cmdline.text.into_bytes());
        Ok(Self {
            files: content.files,
            own: [
                (CONFIG.to_owned(), config.into_bytes().into()),
                (CMDLINE.to_owned(), text.clone()),
                (cmdline.name, text),
                (pi.kernel.name.clone(), content.kernel),
                (pi.initrd.name.clone(), content.initrd),
            ],
        })
    }

    /// The file that firmware knows by `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Rope> {
        let own = self.own.iter().find(|(own, _)| own == name);
        own.map(|(_, parts)| parts).or_else(|| self.files.get(name))
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.own.iter().map(|(name, _)| name.as_str());
        own.chain(self.files.names())
    }
}

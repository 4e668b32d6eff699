//! What iPXE makes of the manager's script. Pure.

use ramboot_wire::{Base, BootArgs};

/// What an iPXE script makes its machine do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verbs::doctor) enum Script {
    /// Start this.
    Boot(Box<Loads>),
    /// Say these lines and ask again.
    Wait(String),
}

/// Two files and a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verbs::doctor) struct Loads {
    /// Where they are.
    pub(in crate::verbs::doctor) base: Base,
    /// Path of the kernel.
    pub(in crate::verbs::doctor) kernel: String,
    /// Path of the initramfs.
    pub(in crate::verbs::doctor) initrd: String,
    /// What `/init` is told.
    pub(in crate::verbs::doctor) args: BootArgs,
}

impl Script {
    /// Reads what `crate::boot::ipxe` writes.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub(in crate::verbs::doctor) fn parse(text: &str) -> Result<Self, String> {
        let Some((kernel, cmdline)) = line(text, "kernel ") else {
            let said = text
                .lines()
                .filter_map(|line| line.strip_prefix("echo ramboot: "));
            // What stands behind it is for when that fails.
            let said = said.take_while(|line| !line.starts_with("next question"));
            let said: Vec<&str> = said.collect();
            return if said.is_empty() {
                Err("the script neither boots nor says why".to_owned())
            } else {
                Ok(Self::Wait(said.join(" / ")))
            };
        };
        let (initrd, _) = line(text, "initrd ").ok_or("the script names no initramfs")?;
        let args = BootArgs::parse(cmdline).map_err(|error| error.to_string())?;
        let split = |url: &str| {
            let rest = url.strip_prefix("http://")?;
            let (host, path) = rest.split_at(rest.find('/')?);
            Some((
                format!("http://{host}").parse::<Base>().ok()?,
                path.to_owned(),
            ))
        };
        let bad = || "the script's addresses are none of ours".to_owned();
        let (base, kernel) = split(kernel).ok_or_else(bad)?;
        let (_, initrd) = split(initrd).ok_or_else(bad)?;
        Ok(Self::Boot(Box::new(Loads {
            base,
            kernel,
            initrd,
            args,
        })))
    }
}

/// URL and arguments of `<command>--name <name> <url> <arguments> || …`
fn line<'a>(text: &'a str, command: &str) -> Option<(&'a str, &'a str)> {
    let rest = text.lines().find_map(|line| line.strip_prefix(command))?;
    let rest = rest.split(" || ").next()?.strip_prefix("--name ")?;
    let (_, rest) = rest.split_once(' ')?;
    Some(rest.split_once(' ').unwrap_or((rest, "")))
}

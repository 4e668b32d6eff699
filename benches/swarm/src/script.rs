//! What iPXE makes of its script: two URLs and a command line. Pure.

use std::net::SocketAddrV4;

use ramboot_wire::{Base, BootArgs};

use crate::fault::Fault;

/// A plain `http://address:port/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) addr: SocketAddrV4,
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find('/')?);
        let base: Base = format!("http://{host}").parse().ok()?;
        Some(Self {
            addr: base.addr,
            path: path.to_owned(),
        })
    }
}

/// What to load and how to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) kernel: Url,
    pub(crate) initrd: Url,
    pub(crate) args: BootArgs,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = |what: &str| Fault::Script(what.to_owned());
        let (kernel, cmdline) = line(text, "kernel").ok_or_else(|| wrong("no kernel in it"))?;
        let (initrd, _) = line(text, "initrd").ok_or_else(|| wrong("no initramfs in it"))?;
        let args = BootArgs::parse(cmdline).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            kernel,
            initrd,
            args,
        })
    }
}

/// `<command> --name <name> <url> <arguments> || …`
fn line<'a>(text: &'a str, command: &str) -> Option<(Url, &'a str)> {
    let rest = text.lines().find_map(|line| line.strip_prefix(command))?;
    let rest = rest.split(" || ").next()?.trim();
    let rest = rest.strip_prefix("--name ")?;
    let (_, rest) = rest.split_once(' ')?;
    let (url, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
    Some((Url::parse(url)?, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_script_of_the_manager() {
        let id = "07".repeat(32);
        let text = format!(
            "#!ipxe\nimgfree ||\nkernel --name vmlinuz-1 http://10.0.0.1:8067/images/{id}/boot/vmlinuz-1 initrd=i ramboot.image={id} \
             ramboot.size=1000 ramboot.url=http://10.0.0.1:8067 BOOTIF=01-02-77-00-00-00-01 || goto failed\n\
             initrd --name initrd-1 http://10.0.0.1:8067/images/{id}/boot/initrd-1 || goto failed\n"
        );
        let script = Script::parse(&text).expect("parses");
        assert_eq!(script.kernel.path, format!("/images/{id}/boot/vmlinuz-1"));
        assert_eq!(script.initrd.path, format!("/images/{id}/boot/initrd-1"));
        assert_eq!((script.args.size, script.args.bases.len()), (1000, 1));
        assert_eq!(script.kernel.addr, script.args.bases[0].addr);
        for wrong in ["", "#!ipxe\necho nothing to boot yet\n", "kernel\ninitrd\n"] {
            Script::parse(wrong).expect_err(wrong);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(kernel|initrd|--name|http://|10.0.0.1|[ /|:\n]|.){0,40}") {
            let _ = Script::parse(&text);
            let _ = Url::parse(&text);
        }
    }
}

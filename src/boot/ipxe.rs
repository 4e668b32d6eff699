//! The script one machine's iPXE gets: kernel and initramfs over HTTP, or why there is nothing to boot yet. Pure text.
//!
//! A script never ends in iPXE's shell and never returns to the firmware, which would go on to the disk: whatever
//! fails is said on the console, and after a pause the manager is asked again. Each round fetches the script anew,
//! so what was changed at the manager meanwhile counts.
//!
//! Commands and options are those that iPXE 1.0.0+git-20190125 (Debian 12) knows; newer ones have them all.

use ramboot_wire::cmdline::CmdlineError;
use ramboot_wire::paths::{Resource, is_boot_name};
use ramboot_wire::{Base, BootArgs, Client};

use crate::config::words::cmdline_fault;

/// Between two tries after a failure: long enough to read the message, short enough for a manager's restart.
const PAUSE_SECONDS: u32 = 5;

/// Between two questions while there is nothing to boot.
const WAIT_SECONDS: u32 = 10;

/// Longest text shown on a machine's console.
const MAX_SAID: usize = 400;

/// Why no script can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The command line itself is not possible.
    #[error(transparent)]
    Cmdline(#[from] CmdlineError),
    /// iPXE would not pass the command line on as it is.
    #[error("kernel command line: {0}")]
    Words(String),
    /// Not a name `publish` gives.
    #[error("{0:?} is not a name of a boot file")]
    Name(String),
    /// No server to fetch from.
    #[error("{0} is missing in what the machine is to boot")]
    Missing(&'static str),
}

/// The script by which `client` boots `args`, with the boot files `kernel` and `initrd` of its image and `extra` kernel parameters.
///
/// The client stands in the script's path, so the manager knows its MAC and has written `BOOTIF=` itself. (`${netX/mac}` would name the last opened interface, not always the one that booted.)
///
/// # Errors
/// Something would not arrive as it is; nothing is quietly changed.
pub fn boot(
    client: &Client,
    args: &BootArgs,
    kernel: &str,
    initrd: &str,
    extra: &str,
) -> Result<String, ScriptError> {
    for name in [kernel, initrd] {
        if !is_boot_name(name) {
            return Err(ScriptError::Name(name.chars().take(80).collect()));
        }
    }
    let mac = client.mac;
    let base = args
        .bases
        .first()
        .ok_or(ScriptError::Missing("ramboot.url"))?;
    let cmdline = args.render(extra)?;
    if let Some(fault) = cmdline_fault(&cmdline) {
        return Err(ScriptError::Words(fault));
    }
    let file = |name: &str| {
        format!(
            "{base}{}",
            Resource::Boot(args.image, name.to_owned()).path()
        )
    };
    let (kernel_url, initrd_url) = (file(kernel), file(initrd));
    // An EFI-stub kernel asks its loader for a file of the name in initrd=; iPXE answers with the image of that
    // name. Without it Linux 6.1, started by iPXE of 2019 under UEFI, finds no initramfs. BIOS kernels ignore it.
    Ok(format!(
        "#!ipxe
echo ramboot: {mac} boots image {image}
imgfree ||
kernel --name {kernel} {kernel_url} initrd={initrd} {cmdline} || goto failed
initrd --name {initrd} {initrd_url} || goto failed
boot || goto failed
:failed
imgfree ||
echo ramboot: kernel or initramfs could not be fetched from {base} or not be started; next try in {PAUSE_SECONDS} s
{again}",
        image = args.image.short(),
        again = ask_again(base, client, PAUSE_SECONDS),
    ))
}

/// The script of a machine that has nothing to boot yet: says why, waits, asks again.
#[must_use]
pub fn wait(base: &Base, client: &Client, reason: &str) -> String {
    let mac = client.mac;
    format!(
        "#!ipxe
echo ramboot: {mac} has nothing to boot yet
echo ramboot: {reason}
echo ramboot: next question in {WAIT_SECONDS} s
{again}",
        reason = say(reason),
        again = ask_again(base, client, WAIT_SECONDS),
    )
}

/// What iPXE runs that was loaded by PXE and looks for `autoexec.ipxe`: on to the machine's own script, by HTTP.
///
/// Such a script runs in place of iPXE's own DHCP. The firmware's lease comes along (`${ip}` is set), but the NIC is not
/// open yet. One configurator only: with all of them iPXE waits 4 to 17 s for an IPv6 router where there is none. Seen:
/// Debian 13's 1.21.1+git20250501, which asks for `autoexec.ipxe` in the root.
#[must_use]
pub fn fetch_script(base: &Base, client: &Client) -> String {
    fetch(&format!("{base}{}", Resource::Script(*client).path()), base)
}

/// The same where the name that was asked for says nothing of the machine: iPXE puts in the MAC of the NIC it opened last,
/// and what it was built for, which is what the machine is (i386 ones run on BIOS).
#[must_use]
pub fn find_script(base: &Base) -> String {
    let script = format!("{base}/ipxe/${{netX/mac:hexhyp}}.${{arch}}");
    let arch = "set arch x86_64
iseq ${buildarch} arm64 && set arch aarch64 ||
";
    fetch(&script, base).replacen('\n', &format!("\n{arch}"), 1)
}

fn fetch(script: &str, base: &Base) -> String {
    format!(
        "#!ipxe
ifconf --configurator dhcp || dhcp ||
chain --replace --autofree {script} ||
echo ramboot: {base} does not answer; next try in {PAUSE_SECONDS} s
{again}",
        again = again(script, base, PAUSE_SECONDS),
    )
}

/// Fetches the script again, for ever.
fn ask_again(base: &Base, client: &Client, seconds: u32) -> String {
    let script = format!("{base}{}", Resource::Script(*client).path());
    again(&script, base, seconds)
}

/// A command that fails ends a script unless `||` follows, and then the firmware
/// goes on to the disk; `sleep` fails when somebody presses Ctrl-C. `--replace` keeps old scripts from staying in
/// memory. DHCP is asked between tries, because a manager that is away may come back under another address;
/// `${filename}` is what it says.
fn again(script: &str, base: &Base, seconds: u32) -> String {
    format!(
        ":again
sleep {seconds} ||
chain --replace --autofree {script} ||
echo ramboot: {base} does not answer; asking DHCP again, next try in {seconds} s
dhcp ||
chain --replace --autofree ${{filename}} ||
goto again
"
    )
}

/// Text from outside becomes words that iPXE prints as they are: no line ends, no `${`, nothing that ends a command.
fn say(text: &str) -> String {
    let plain = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => c,
        '.' | ',' | ':' | '/' | '_' | '+' | '-' | '(' | ')' | '[' | ']' | '"' | '\'' => c,
        '=' | '%' | '@' | '?' | '!' | '*' => c,
        c if c.is_whitespace() => ' ',
        _ => '?',
    };
    text.chars().take(MAX_SAID).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ramboot_wire::{ImageId, Mac};

    const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    fn base() -> Base {
        "http://10.0.0.1:8067".parse().expect("a base")
    }

    fn client() -> Client {
        MAC.into()
    }

    fn args() -> BootArgs {
        BootArgs {
            image: ImageId([7; 32]),
            size: 1000,
            bases: vec![base()],
            overlay: None,
            tmpfs: Vec::new(),
            hostname: Some("node-1".to_owned()),
            files: None,
            debug: false,
            heartbeat: true,
            deadline: None,
            bootif: Some(MAC),
            streaming: None,
            boot: None,
        }
    }

    #[test]
    fn a_boot_script() {
        let id = ImageId([7; 32]);
        assert_eq!(
            boot(&client(), &args(), "vmlinuz", "initrd.img", "console=ttyS0").expect("a script"),
            format!(
                "#!ipxe
echo ramboot: 52:54:00:12:34:56 boots image 070707070707
imgfree ||
kernel --name vmlinuz http://10.0.0.1:8067/images/{id}/boot/vmlinuz initrd=initrd.img ramboot.image={id} ramboot.size=1000 ramboot.url=http://10.0.0.1:8067 ramboot.hostname=node-1 BOOTIF=01-52-54-00-12-34-56 console=ttyS0 || goto failed
initrd --name initrd.img http://10.0.0.1:8067/images/{id}/boot/initrd.img || goto failed
boot || goto failed
:failed
imgfree ||
echo ramboot: kernel or initramfs could not be fetched from http://10.0.0.1:8067 or not be started; next try in 5 s
:again
sleep 5 ||
chain --replace --autofree http://10.0.0.1:8067/ipxe/52-54-00-12-34-56 ||
echo ramboot: http://10.0.0.1:8067 does not answer; asking DHCP again, next try in 5 s
dhcp ||
chain --replace --autofree ${{filename}} ||
goto again
"
            )
        );
    }

    #[test]
    fn a_waiting_script() {
        assert_eq!(
            wait(
                &base(),
                &client(),
                "no image is published: run \"ramboot publish IMAGE\" on the manager"
            ),
            "#!ipxe
echo ramboot: 52:54:00:12:34:56 has nothing to boot yet
echo ramboot: no image is published: run \"ramboot publish IMAGE\" on the manager
echo ramboot: next question in 10 s
:again
sleep 10 ||
chain --replace --autofree http://10.0.0.1:8067/ipxe/52-54-00-12-34-56 ||
echo ramboot: http://10.0.0.1:8067 does not answer; asking DHCP again, next try in 10 s
dhcp ||
chain --replace --autofree ${filename} ||
goto again
"
        );
    }

    #[test]
    fn a_script_that_leads_to_the_script() {
        assert_eq!(
            fetch_script(&base(), &client()),
            "#!ipxe
ifconf --configurator dhcp || dhcp ||
chain --replace --autofree http://10.0.0.1:8067/ipxe/52-54-00-12-34-56 ||
echo ramboot: http://10.0.0.1:8067 does not answer; next try in 5 s
:again
sleep 5 ||
chain --replace --autofree http://10.0.0.1:8067/ipxe/52-54-00-12-34-56 ||
echo ramboot: http://10.0.0.1:8067 does not answer; asking DHCP again, next try in 5 s
dhcp ||
chain --replace --autofree ${filename} ||
goto again
"
        );
        let any = find_script(&base());
        let chain =
            "chain --replace --autofree http://10.0.0.1:8067/ipxe/${netX/mac:hexhyp}.${arch} ||\n";
        assert_eq!(any.matches(chain).count(), 2);
        let head =
            "#!ipxe\nset arch x86_64\niseq ${buildarch} arm64 && set arch aarch64 ||\nifconf ";
        assert!(any.starts_with(head), "{any}");
    }

    #[test]
    fn nothing_from_outside_becomes_a_command() {
        for extra in [
            "a\nshell",
            "a || shell",
            "# x",
            "a ; shell",
            "${net0/mac}",
            "a && shell",
            "a\tb",
            "é",
        ] {
            assert!(
                boot(&client(), &args(), "vmlinuz", "initrd.img", extra).is_err(),
                "{extra:?}"
            );
        }
        for name in ["", "../x", "a b", "a\nshell", "${x}", "a||b"] {
            assert!(
                boot(&client(), &args(), name, "initrd.img", "").is_err(),
                "{name:?}"
            );
            assert!(
                boot(&client(), &args(), "vmlinuz", name, "").is_err(),
                "{name:?}"
            );
        }
        let broken = [
            BootArgs {
                hostname: Some("a shell".to_owned()),
                ..args()
            },
            BootArgs {
                bases: Vec::new(),
                ..args()
            },
        ];
        for args in broken {
            boot(&client(), &args, "vmlinuz", "initrd.img", "").expect_err("refused");
        }
    }

    proptest! {
        #[test]
        fn a_reason_stays_one_harmless_line(reason in ".*") {
            let script = wait(&base(), &client(), &reason);
            prop_assert_eq!(script.lines().count(), wait(&base(), &client(), "").lines().count());
            let line = script.lines().nth(2).unwrap_or_default();
            prop_assert!(line.starts_with("echo ramboot: "));
            let harmless = !line.contains(['$', '|', ';', '&', '#', '\u{7b}']);
            prop_assert!(harmless);
            prop_assert!(line.len() <= MAX_SAID + 20);
        }

        #[test]
        fn extra_words_arrive_or_are_refused(extra in "[ -~\\n]{0,200}") {
            if let Ok(script) = boot(&client(), &args(), "vmlinuz", "initrd.img", &extra) {
                let plain = boot(&client(), &args(), "vmlinuz", "initrd.img", "").expect("a script");
                prop_assert_eq!(script.lines().count(), plain.lines().count());
                let kernel = script.lines().nth(3).unwrap_or_default();
                prop_assert!(kernel.ends_with(" || goto failed"));
                prop_assert_eq!(kernel.matches(" || ").count(), 1);
            }
        }
    }
}

//! What to boot, in the words of each firmware: one function each.

use dhcproto::v4::{DhcpOption, OptionCode};
use ramboot_wire::paths::Resource;

use super::firmware::Firmware;
use super::policy::{Mode, Policy};
use super::reply::{Reply, unknown};
use super::request::{Port, Request};

/// The file a BIOS ROM runs: iPXE that uses the ROM's own network driver.
pub const BIOS_BOOT_FILE: &str = "undionly.kpxe";

const PXE_CLASS: &[u8] = b"PXEClient";
const HTTP_CLASS: &[u8] = b"HTTPClient";

/// PXE 2.1 §2.2.3, table 2-1: tag 6, PXE_DISCOVERY_CONTROL, bit 3: boot the file named here, discover no boot servers.
const NO_DISCOVERY: [u8; 4] = [6, 1, 8, 255];

/// What a Raspberry Pi looks for: dnsmasq's `pxe-service=0,"Raspberry Pi Boot"`, byte for byte, which they were all made
/// to work with. Discovery control 3 (neither broadcast nor multicast), a prompt with timeout 0, a menu of one entry.
/// The ROM of a Pi 3B compares more bytes than the text has, hence its three spaces, which the others do not mind.
const PI_MENU: &[u8] = b"\x06\x01\x03\x0a\x04\0PXE\x09\x17\0\0\x14Raspberry Pi Boot   \xff";

/// Sub-option 176 of option 175: iPXE does not wait for a proxy's offer.
const IPXE_NO_PXEDHCP: [u8; 3] = [0xb0, 1, 1];

/// What a client is told to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFile {
    /// By HTTP.
    Url(String),
    /// By TFTP, from the server itself.
    Tftp(String),
    /// It asks again, on port 4011.
    BootServer,
    /// It knows by itself which files it wants, by TFTP.
    Files,
}

/// Writes into `reply` what the client that sent `request` boots; `None` if it did not ask to boot.
pub(super) fn write(reply: &mut Reply, request: &Request, policy: &Policy) -> Option<BootFile> {
    match request.firmware {
        Firmware::BiosPxe => Some(bios(reply, request, policy)),
        Firmware::UefiPxe(_) => Some(uefi_pxe(reply, request, policy)),
        Firmware::UefiHttp(_) => Some(uefi_http(reply, request, policy)),
        Firmware::Ipxe(_) => Some(ipxe(reply, request, policy)),
        Firmware::Pi(_) => Some(pi(reply, request, policy)),
        Firmware::UBoot => Some(u_boot(reply, policy)),
        Firmware::Init | Firmware::System | Firmware::Other(_) => None,
    }
}

fn bios(reply: &mut Reply, request: &Request, policy: &Policy) -> BootFile {
    class(reply, request, PXE_CLASS);
    control(reply, &NO_DISCOVERY);
    next_server(reply, policy, BIOS_BOOT_FILE);
    BootFile::Tftp(BIOS_BOOT_FILE.to_owned())
}

/// With option 43 in it EDK2 takes an offer for one of a boot server list and shows a menu. Without a file it asks on
/// port 4011; with one in the offer of whoever gives the address it does not.
fn uefi_pxe(reply: &mut Reply, request: &Request, policy: &Policy) -> BootFile {
    class(reply, request, PXE_CLASS);
    if let (Mode::Proxy, Port::Dhcp) = (&policy.mode, request.arrival.port) {
        return BootFile::BootServer;
    }
    let path = Resource::Efi(request.client()).path();
    let name = path.trim_start_matches('/').to_owned();
    next_server(reply, policy, &name);
    BootFile::Tftp(name)
}

/// EDK2's HttpBootDxe reads option 67; the fixed field is for those that do not.
fn uefi_http(reply: &mut Reply, request: &Request, policy: &Policy) -> BootFile {
    class(reply, request, HTTP_CLASS);
    let url = policy.url(&Resource::Efi(request.client()));
    let options = reply.message.opts_mut();
    options.insert(DhcpOption::BootfileName(url.clone().into_bytes()));
    next_server(reply, policy, &url);
    BootFile::Url(url)
}

/// iPXE takes an offer with next server and file name as the whole answer (dhcp_has_pxeopts in its dhcp.c); with either
/// missing it would ask again on port 4011.
fn ipxe(reply: &mut Reply, request: &Request, policy: &Policy) -> BootFile {
    class(reply, request, PXE_CLASS);
    control(reply, &NO_DISCOVERY);
    let url = policy.url(&Resource::Script(request.client()));
    next_server(reply, policy, &url);
    if let Mode::Full(_) = policy.mode {
        unknown(
            &mut reply.message,
            OptionCode::Unknown(175),
            &IPXE_NO_PXEDHCP,
        );
    }
    BootFile::Url(url)
}

/// A Pi never looks at a file name. TFTP goes to `siaddr`, else to who sent option 43; option 66 would win over both and
/// was misread by EEPROMs of before 2020-01-09, so it is not sent.
fn pi(reply: &mut Reply, request: &Request, policy: &Policy) -> BootFile {
    class(reply, request, PXE_CLASS);
    control(reply, PI_MENU);
    reply.message.set_siaddr(policy.server);
    if let Mode::Proxy = policy.mode {
        // As dnsmasq answers them, seen to work with all three kinds.
        reply
            .message
            .set_flags((request.flags | super::reply::BROADCAST).into());
    }
    BootFile::Files
}

/// `dhcp` would load and start a file that is named here; `pxe get`, which comes after it, only needs the server.
fn u_boot(reply: &mut Reply, policy: &Policy) -> BootFile {
    reply.message.set_siaddr(policy.server);
    BootFile::Files
}

/// Firmware takes only answers that say what it said itself (PXE 2.1 §2.2.1); option 97 comes back where it was sent.
fn class(reply: &mut Reply, request: &Request, class: &[u8]) {
    let options = reply.message.opts_mut();
    options.insert(DhcpOption::ClassIdentifier(class.to_vec()));
    if let Some(id) = &request.machine_id {
        options.insert(DhcpOption::ClientMachineIdentifier(id.clone()));
    }
}

fn control(reply: &mut Reply, data: &[u8]) {
    let options = reply.message.opts_mut();
    options.insert(DhcpOption::VendorExtensions(data.to_vec()));
}

fn next_server(reply: &mut Reply, policy: &Policy, file: &str) {
    reply.message.set_siaddr(policy.server);
    reply.message.set_sname_str(policy.server.to_string());
    reply.message.set_fname_str(file);
}

impl std::fmt::Display for BootFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Tftp(file) => write!(f, "{file} by TFTP"),
            Self::BootServer => f.write_str("a file from port 4011"),
            Self::Files => f.write_str("files by TFTP"),
        }
    }
}

//! The `/init` programs that travel inside the manager, one for each architecture it was built for.

use ramboot_wire::Arch;

static X86_64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init-x86_64"));
static AARCH64: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init-aarch64"));

/// `/init` for an architecture; `None` if this `ramboot` was built without the Rust target for it.
#[must_use]
pub fn init(arch: Arch) -> Option<&'static [u8]> {
    let bytes = match arch {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
    };
    (!bytes.is_empty()).then_some(bytes)
}

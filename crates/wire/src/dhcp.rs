//! What `/init` and the manager say of themselves in DHCP.

/// Vendor class (option 60) of `/init`'s DHCP client: it has booted and wants an address only.
pub const INIT_CLASS: &[u8] = b"ramboot";

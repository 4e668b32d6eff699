//! Who a worker is, without a note of it anywhere: the same secret and the same machine give the same machine-id, SSH host
//! key and passwords at every boot, from every manager that has the secret. Pure.
//!
//! **Which machine it is** ([`Key`]) must come out the same at every boot. It is what the request that handed out the kernel
//! command line said of the machine, never what happened to be remembered or looked up beside it:
//!
//! - A Raspberry Pi's serial number, if it asked in the folder that is named by it. A bootloader does, or does not, by a setting
//!   (`TFTP_PREFIX`), so it does so at each boot; and it stays with the board when its network card is another one. The MAC
//!   of such a machine is known from the kernel's neighbour table only, which forgets.
//! - Else the MAC of the NIC it boots from, which iPXE, UEFI and U-Boot are given in their URL or file name by us.
//!
//! Not the product UUID: vendors ship boards with one UUID for all of them, and firmware sends it in two byte orders.
//!
//! Each value is BLAKE3 in its key derivation mode, so that none tells anything of another one or of the secret. The
//! contexts below and the order of what is hashed are for ever: a change would make strangers of all workers.

pub mod secret;

use std::fmt;
use std::str::FromStr;

use ramboot_wire::{Mac, Worker};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use crate::text::hex::hex;

const MACHINE_ID: &str = "ramboot 2026-11 worker machine-id";
const SSH_HOST_KEY: &str = "ramboot 2026-11 worker ssh host key ed25519";
const NODE_PASSWORD: &str = "ramboot 2026-11 worker k3s node password";
const WORKER_SECRET: &str = "ramboot 2026-11 worker secret by label";
const SHARED_SECRET: &str = "ramboot 2026-11 shared secret by label";

/// What all of it comes from; as text 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// The text is no secret. It is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not hold 64 hexadecimal digits (0-9, a-f) and the end of the line")]
pub struct BadSecret;

/// One machine, as far as its identity depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A Raspberry Pi: the low 32 bits of its serial number.
    Serial(u32),
    /// Any other: the NIC it boots from.
    Mac(Mac),
}

/// One machine's identity.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    secret: &'a Secret,
    key: Key,
}

/// An SSH host key, as OpenSSH has it in its two files.
#[derive(Clone, PartialEq, Eq)]
pub struct SshKey {
    /// `ssh_host_ed25519_key`
    pub private: String,
    /// `ssh_host_ed25519_key.pub`
    pub public: String,
}

impl Key {
    /// Of a machine of which so much is known; `None` if nothing tells it from others.
    #[must_use]
    pub fn of(worker: &Worker) -> Option<Self> {
        worker
            .serial
            .map(Self::Serial)
            .or_else(|| worker.mac.map(Self::Mac))
    }

    /// Six hexadecimal digits to call it by: the end of its MAC or serial number (which are the same on Raspberry Pis up to
    /// 3B+). Two NICs of different vendors may share them.
    #[must_use]
    pub fn short(self) -> String {
        match self {
            Self::Serial(serial) => format!("{:06x}", serial & 0x00ff_ffff),
            Self::Mac(Mac([_, _, _, d, e, f])) => format!("{d:02x}{e:02x}{f:02x}"),
        }
    }
}

/// As it is hashed.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "serial:{serial:08x}"),
            Self::Mac(mac) => write!(f, "mac:{mac}"),
        }
    }
}

impl Secret {
    /// From chance.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 hexadecimal digits that every worker gets for this `label`: for what a whole cluster must share.
    #[must_use]
    pub fn shared(&self, label: &str) -> String {
        hex(&self.derive::<32>(SHARED_SECRET, &[label]))
    }

    /// The identity of one machine.
    #[must_use]
    pub const fn identity(&self, key: Key) -> Identity<'_> {
        Identity { secret: self, key }
    }

    /// Each word is hashed with its length, so that no two lists are the same bytes. A shorter value is the beginning of a longer
    /// one: that is BLAKE3's extendable output.
    fn derive<const N: usize>(&self, context: &str, words: &[&str]) -> [u8; N] {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        for word in words {
            hasher.update(&(word.len() as u64).to_le_bytes());
            hasher.update(word.as_bytes());
        }
        let mut value = [0; N];
        hasher.finalize_xof().fill(&mut value);
        value
    }
}

/// Never in a log.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl FromStr for Secret {
    type Err = BadSecret;

    /// As the file has it, with or without the end of the line.
    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let digits = text.strip_suffix('\n').unwrap_or(text);
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(is_digit) {
            return Err(BadSecret);
        }
        let hash = blake3::Hash::from_hex(digits).map_err(|_| BadSecret)?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Identity<'_> {
    fn derive<const N: usize>(&self, context: &str) -> [u8; N] {
        self.secret.derive(context, &[&self.key.to_string()])
    }

    /// For `/etc/machine-id`: 32 hexadecimal digits, marked as a random UUID (version 4), as machine-id(5) wants it.
    #[must_use]
    pub fn machine_id(&self) -> String {
        let mut id: [u8; 16] = self.derive(MACHINE_ID);
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut id;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        hex(&id)
    }

    /// For `/etc/ssh`: an ed25519 key in OpenSSH's own format (PROTOCOL.key), the same bytes each time.
    ///
    /// # Errors
    /// Never, as far as the format goes; the library cannot promise it.
    pub fn ssh_host_key(&self) -> Result<SshKey, ssh_key::Error> {
        let pair = Ed25519Keypair::from_seed(&self.derive(SSH_HOST_KEY));
        let key = PrivateKey::new(KeypairData::Ed25519(pair), "ramboot")?;
        Ok(SshKey {
            private: key.to_openssh(LineEnding::LF)?.to_string(),
            public: format!("{}\n", key.public_key().to_openssh()?),
        })
    }

    /// For `/etc/rancher/node/password`: 32 hexadecimal digits, as k3s would make them of chance
    /// (`pkg/agent/config/config.go`, `ensureNodePassword`).
    #[must_use]
    pub fn node_password(&self) -> String {
        hex(&self.derive::<16>(NODE_PASSWORD))
    }

    /// 64 hexadecimal digits that only this machine gets for this `label`.
    #[must_use]
    pub fn secret(&self, label: &str) -> String {
        let key = self.key.to_string();
        hex(&self.secret.derive::<32>(WORKER_SECRET, &[&key, label]))
    }
}

/// Never in a log.
impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.public.trim_end())
    }
}

#[cfg(test)]
mod tests;

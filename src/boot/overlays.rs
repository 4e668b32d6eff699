//! Worker files: folders of the manager become one small archive for one worker, which `/init` lays over the image.
//!
//! ```text
//! <state>/overlays/common/…        for every worker
//! <state>/overlays/<name>/…        for those whose rule says overlays = ["name"]; later ones lie over earlier ones
//! ```
//!
//! Files, folders and symbolic links keep mode and owner; devices, sockets and pipes are refused. A name that ends with
//! `.j2` is a template ([`crate::text::template`]) and loses the ending. Beneath all of them lie the files that make the worker
//! itself ([`identity_files`]). The same input gives the same bytes. Reading is [`read`]'s; the rest is pure.

pub mod kept;
pub mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use ramboot_wire::files::{MAX_ENTRIES, MAX_FILES_BYTES};

use crate::boot::identity::Identity;
use crate::formats::cpio::{Archive, CpioError, Owner};
use crate::text::template::{self, Secrets, TemplateError, Words};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file as it is.
    File(Vec<u8>),
    /// A symbolic link and its target, wherever that leads.
    Link(String),
    /// A file that is made for each worker, and where its template lies.
    Template {
        /// For errors: `/var/lib/ramboot/overlays/common/etc/motd.j2`.
        origin: String,
        /// The template.
        source: String,
    },
}

/// A node with its permissions and owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The lower twelve bits of `st_mode`.
    pub mode: u32,
    /// Numbers of user and group.
    pub owner: Owner,
    /// What it is.
    pub node: Node,
}

/// Entries by path, without the leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Entry>);

/// Why there are no files for a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// A template that cannot be filled in for this worker.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A name or file the format cannot hold.
    #[error(transparent)]
    Cpio(#[from] CpioError),
    /// More than a worker takes.
    #[error(
        "{0} files, folders and links; a worker takes {MAX_ENTRIES}: put into the image what all of them need"
    )]
    Entries(usize),
    /// Likewise.
    #[error(
        "an archive of {0} bytes; a worker takes {MAX_FILES_BYTES}: put into the image what all of them need"
    )]
    Bytes(usize),
    /// The library that writes SSH keys refused.
    #[error("writing the SSH host key: {0}")]
    Ssh(String),
}

impl Tree {
    /// Puts an entry at a path; what was there goes, and all that was in it unless both are folders.
    pub fn insert(&mut self, path: String, entry: Entry) {
        if entry.node != Node::Folder {
            let inside = format!("{path}/");
            let all = self.0.range(inside.clone()..);
            let gone = all.take_while(|(other, _)| other.starts_with(&inside));
            let gone: Vec<String> = gone.map(|(other, _)| other.clone()).collect();
            for other in gone {
                self.0.remove(&other);
            }
        }
        self.0.insert(path, entry);
    }

    /// Lays `over` over it.
    pub fn lay(&mut self, over: Self) {
        for (path, entry) in over.0 {
            self.insert(path, entry);
        }
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all templates can be read.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), TemplateError> {
        for entry in self.0.values() {
            if let Node::Template { origin, source } = &entry.node {
                template::check(origin, source)?;
            }
        }
        Ok(())
    }

    /// The archive of one worker, templates filled in.
    ///
    /// # Errors
    /// See [`FilesError`]; nothing is left out quietly.
    pub fn archive(
        &self,
        words: &Words,
        secrets: &Arc<impl Secrets>,
    ) -> Result<Vec<u8>, FilesError> {
        if self.0.len() > MAX_ENTRIES {
            return Err(FilesError::Entries(self.0.len()));
        }
        let mut archive = Archive::default();
        let mut bytes = 0;
        for (path, entry) in &self.0 {
            let (kind, content) = match &entry.node {
                Node::Folder => (FOLDER, Vec::new()),
                Node::File(content) => (FILE, content.clone()),
                Node::Link(target) => (LINK, target.clone().into_bytes()),
                Node::Template { origin, source } => {
                    let text = template::render(origin, source, words, secrets)?;
                    (FILE, text.into_bytes())
                }
            };
            // Before the sum is copied together: templates may grow.
            bytes += content.len();
            if bytes as u64 > MAX_FILES_BYTES {
                return Err(FilesError::Bytes(bytes));
            }
            archive.owned(path, kind | entry.mode, entry.owner, content);
        }
        let archive = archive.bytes()?;
        if archive.len() as u64 > MAX_FILES_BYTES {
            return Err(FilesError::Bytes(archive.len()));
        }
        Ok(archive)
    }
}

impl FromIterator<(String, Entry)> for Tree {
    fn from_iter<I: IntoIterator<Item = (String, Entry)>>(entries: I) -> Self {
        let mut tree = Self::default();
        for (path, entry) in entries {
            tree.insert(path, entry);
        }
        tree
    }
}

/// What makes a worker itself. Their folders do not come with them: an image without sshd or k3s has no `/etc/ssh` or
/// `/etc/rancher`, and `/init` leaves out what has no folder.
///
/// # Errors
/// [`FilesError::Ssh`].
pub fn identity_files(identity: &Identity<'_>) -> Result<Tree, FilesError> {
    let ssh = identity
        .ssh_host_key()
        .map_err(|error| FilesError::Ssh(error.to_string()))?;
    let line = |text: String| format!("{text}\n");
    let files = [
        ("etc/machine-id", 0o444, line(identity.machine_id())),
        ("etc/ssh/ssh_host_ed25519_key", 0o600, ssh.private),
        ("etc/ssh/ssh_host_ed25519_key.pub", 0o644, ssh.public),
        (
            "etc/rancher/node/password",
            0o600,
            line(identity.node_password()),
        ),
    ];
    let entries = files.into_iter().map(|(path, mode, text)| {
        let entry = Entry {
            mode,
            owner: Owner::default(),
            node: Node::File(text.into_bytes()),
        };
        (path.to_owned(), entry)
    });
    Ok(entries.collect())
}

/// Bits of `st_mode` above the permissions.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

#[cfg(test)]
mod tests;

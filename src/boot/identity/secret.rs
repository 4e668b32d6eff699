//! The secret's file, `<state>/secret`: made once, from the kernel's random numbers, and never changed. A shell.
//!
//! It appears whole or not at all, and of two managers that start at once one makes it and both have it. Several managers
//! that are to know their workers alike need a copy of the same file.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, ensure};

use super::Secret;
use crate::store::make_root;
use crate::text::hex::hex;

const NAME: &str = "secret";
/// 64 digits and the end of the line; one more tells that there is more.
const MAX_BYTES: u64 = 66;
/// Read or write for the group or for everybody.
const OPEN_TO_OTHERS: u32 = 0o077;

/// Reads the secret in the folder `state`, or makes it if there is none.
///
/// # Errors
/// It cannot be read or made, others may read it, or it is damaged; the text says what to do.
pub fn open(state: &Path) -> anyhow::Result<Secret> {
    if let Some(secret) = read(state)? {
        return Ok(secret);
    }
    make(state).with_context(|| {
        format!(
            "making {}, from which workers' identities come",
            state.join(NAME).display()
        )
    })?;
    read(state)?.with_context(|| format!("{} vanished", state.join(NAME).display()))
}

fn read(state: &Path) -> anyhow::Result<Option<Secret>> {
    let path = state.join(NAME);
    let shown = path.display();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(e).with_context(|| {
                format!("reading {shown}: it must belong to the user that runs ramboot serve")
            });
        }
    };
    let metadata = file
        .metadata()
        .with_context(|| format!("looking at {shown}"))?;
    let mode = metadata.mode() & 0o7777;
    ensure!(
        metadata.is_file() && mode & OPEN_TO_OTHERS == 0,
        "{shown} has mode {mode:04o}, and whoever reads it can be any worker: chmod 600 {shown}"
    );
    let mut text = String::new();
    file.take(MAX_BYTES)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {shown}"))?;
    let secret = text.parse::<Secret>().with_context(|| {
        format!("{shown} is damaged; put back a copy of it. Removing it makes a new one, and strangers of all workers")
    })?;
    Ok(Some(secret))
}

fn make(state: &Path) -> anyhow::Result<()> {
    make_root(state)?;
    let mut chance = [0; 32];
    // Never short, and it waits until the kernel has gathered enough (random(7)).
    File::open("/dev/urandom")?.read_exact(&mut chance)?;
    // Mode 0600 from its first moment; gone again unless it gets its name.
    let mut file = tempfile::Builder::new()
        .prefix(".secret-")
        .tempfile_in(state)?;
    writeln!(file, "{}", hex(&chance))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(state.join(NAME)) {
        Ok(_) => Ok(File::open(state)?.sync_all()?),
        // Another manager was faster: its secret counts.
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(lost) => Err(lost.error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let state = folder.path().join("state");
        let made = open(&state).expect("made");
        let path = state.join(NAME);
        let mode = fs::metadata(&path).expect("there").mode() & 0o7777;
        let text = fs::read_to_string(&path).expect("text");
        assert_eq!((mode, text.len()), (0o600, 65));
        assert_eq!(open(&state).expect("again"), made);
        assert_eq!(fs::read_to_string(&path).expect("text"), text);
        let other = tempfile::tempdir().expect("folder");
        assert_ne!(open(other.path()).expect("made"), made);
        assert_eq!(fs::read_dir(&state).expect("there").count(), 1);
    }

    #[test]
    fn managers_that_start_at_once_agree() {
        let folder = tempfile::tempdir().expect("folder");
        let state = folder.path();
        let secrets: Vec<Secret> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| open(state).expect("a secret")))
                .collect();
            let ends = starts.into_iter().map(|start| start.join().expect("ends"));
            ends.collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_eq!(fs::read_dir(state).expect("there").count(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_and_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(NAME);
        for (text, mode, want) in [
            ("0\n", 0o600, "is damaged; put back a copy"),
            ("", 0o600, "is damaged"),
            (&*format!("{}\n", "a".repeat(64)), 0o640, "has mode 0640"),
            (&*format!("{}\n", "a".repeat(64)), 0o604, "chmod 600"),
        ] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
            let error = format!("{:#}", open(folder.path()).expect_err("refused"));
            assert!(error.contains(want), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("text"), text);
        }
    }
}

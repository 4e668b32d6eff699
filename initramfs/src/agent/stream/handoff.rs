//! What `/init` tells the process that streams: one line of JSON, then bytes, through a pipe that closes when the image's
//! init starts.

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use ramboot_fetch::order::Waits;
use ramboot_wire::{ChunkList, ImageId, Profile};
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    /// What fits in a line.
    pub line: Line,
    /// The proven chunk list.
    pub list: ChunkList,
    /// Which chunks are in the file already.
    pub done: Vec<bool>,
    /// What boots read.
    pub profile: Option<Profile>,
}

/// What fits in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The image.
    pub image: ImageId,
    /// Its bytes.
    pub size: u64,
    /// The file it comes into, as another process can open it.
    pub file: PathBuf,
    /// What `/init` was told: for where to fetch, and for how long a program may wait.
    pub cmdline: String,
    /// Words for a heartbeat ([`crate::agent::heartbeat::Orders`]).
    pub heartbeat: Vec<String>,
    /// The number of the link that carries the boot.
    pub link: u32,
    /// What the gate waited for.
    pub waits: Waits,
    /// Whether a profile follows.
    pub has_profile: bool,
}

impl Handoff {
    /// Writes all of it.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let line = serde_json::to_string(&self.line)?;
        to.write_all(format!("{line}\n").as_bytes())?;
        to.write_all(&self.list.encode())?;
        let done: Vec<u8> = self.done.iter().map(|done| u8::from(*done)).collect();
        to.write_all(&done)?;
        if let Some(profile) = &self.profile {
            to.write_all(&profile.encode())?;
        }
        to.flush()
    }

    /// Reads all of it, and proves the list again.
    ///
    /// # Errors
    /// It is cut off, or not what [`write`](Self::write) writes.
    pub fn read(from: &mut impl BufRead) -> anyhow::Result<Self> {
        let mut text = String::new();
        from.by_ref()
            .take(MAX_LINE)
            .read_line(&mut text)
            .context("reading the orders")?;
        let line: Line = serde_json::from_str(&text).context("reading the orders")?;
        let mut bytes = |len: u64| {
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            from.read_exact(&mut bytes).context("reading the orders")?;
            anyhow::Ok(bytes)
        };
        let list = bytes(ChunkList::encoded_len(line.size))?;
        let list = ChunkList::prove(line.image, line.size, &list)?;
        let done = bytes(list.count())?.iter().map(|byte| *byte != 0).collect();
        let profile = if line.has_profile {
            let profile = bytes(Profile::encoded_len(line.size))?;
            Profile::parse(line.size, &profile)
        } else {
            None
        };
        ensure!(
            profile.is_some() == line.has_profile,
            "the profile is of another image"
        );
        Ok(Self {
            line,
            list,
            done,
            profile,
        })
    }
}

/// A kernel command line has 2 048 bytes at most, and JSON writes a byte as six at most.
const MAX_LINE: u64 = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use ramboot_wire::CHUNK_BYTES;
    use ramboot_wire::image::{chaining_value, fold};
    use ramboot_wire::profile::Want;

    #[test]
    fn what_is_told_is_understood() {
        let image = vec![5; 2 * usize::try_from(CHUNK_BYTES).expect("small") + 9];
        let chunks = image.chunks(usize::try_from(CHUNK_BYTES).expect("small"));
        let values: Vec<_> = chunks.zip(0..).map(|(c, i)| chaining_value(i, c)).collect();
        let (id, size) = (fold(&values).expect("a tree"), image.len() as u64);
        let list = ChunkList::prove(id, size, &values.concat()).expect("proves");
        let handoff = Handoff {
            line: Line {
                image: id,
                size,
                file: "/proc/1/fd/7".into(),
                cmdline: "ramboot.image=\"x\"".to_owned(),
                heartbeat: vec!["-".to_owned()],
                link: 2,
                waits: Waits::Hot,
                has_profile: true,
            },
            list,
            done: vec![true, false, true],
            profile: Some(Profile::new(vec![Want::Hot(0), Want::Cold, Want::Warm(1)])),
        };
        let mut bytes = Vec::new();
        handoff.write(&mut bytes).expect("to memory");
        assert_eq!(Handoff::read(&mut &bytes[..]).expect("reads"), handoff);
        for cut in [0, 10, bytes.len() - 1, bytes.len() - 4] {
            Handoff::read(&mut &bytes[..cut]).expect_err("cut off");
        }
        let at = bytes.iter().position(|b| *b == b'\n').expect("a line") + 1;
        bytes[at] ^= 1;
        Handoff::read(&mut &bytes[..]).expect_err("a list that does not prove");
    }
}

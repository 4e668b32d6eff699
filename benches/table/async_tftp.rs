//! A TFTP server made of the crate async-tftp, as its README has it: a folder, read only, all settings as they come.
//!
//! A peer in the tables of BENCHMARKS.md, in no package. `benches/tftp_loss.sh` starts it as the example `async_tftp`; the
//! table has it compiled in and starts itself, as it does for the limit, so nothing else must be built before.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use async_tftp::server::TftpServerBuilder;

/// Serves for ever. The last two words of the command line are the address and the folder.
pub(crate) fn main() -> anyhow::Result<()> {
    #[allow(clippy::disallowed_methods, reason = "two words need no parser")]
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [.., address, folder] = words.as_slice() else {
        bail!("usage: async_tftp ADDRESS:PORT FOLDER");
    };
    let address: SocketAddr = address.parse().context("reading the address")?;
    // Of the executors that it works with the cheapest: no second thread waits for packets.
    async_io::block_on(async {
        let server = TftpServerBuilder::with_dir_ro(folder)?;
        server.bind(address).build().await?.serve().await
    })
    .with_context(|| format!("serving {folder} by TFTP on {address}"))
}

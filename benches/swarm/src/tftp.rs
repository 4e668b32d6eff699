//! A boot file as a BIOS ROM loads it (PXE 2.1 §3.3): first its size, then all of it, block by block.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::fault::Fault;
use crate::firmware::{Asker, Wanted};
use crate::stage::Question;

const RRQ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// PXE 2.1's TFTP timeout; iPXE's begins shorter.
const AGAIN: Duration = Duration::from_secs(2);
const TRIES: u32 = 8;

impl Asker {
    /// Gets the file and throws it away; gives its length.
    pub(crate) async fn tftp(&self, wanted: &Wanted) -> Result<u64, Fault> {
        let Wanted { own, server, name } = wanted;
        let server = SocketAddrV4::new(*server, 69);
        let mut look = Transfer::open(self, *own, server).await?;
        let promised = look.size(name).await?;
        let mut file = Transfer::open(self, *own, server).await?;
        let length = file.read(name).await?;
        if length == promised {
            Ok(length)
        } else {
            Err(Fault::TftpShort(length, promised))
        }
    }
}

struct Transfer<'a> {
    machine: &'a Asker,
    socket: UdpSocket,
    peer: SocketAddrV4,
    packet: Vec<u8>,
}

impl<'a> Transfer<'a> {
    async fn open(machine: &'a Asker, own: Ipv4Addr, server: SocketAddrV4) -> io::Result<Self> {
        Ok(Self {
            machine,
            socket: UdpSocket::bind((own, 0)).await?,
            peer: server,
            packet: vec![0; 1500],
        })
    }

    /// Asks, is told, and ends it.
    async fn size(&mut self, name: &str) -> Result<u64, Fault> {
        let answer = self.first(name, "tsize\x000\0").await?;
        let size = option(answer, "tsize");
        let mut end = vec![0, 5, 0, 0];
        end.extend(b"TFTP Aborted\0");
        self.socket.send_to(&end, self.peer).await?;
        size.ok_or_else(|| Fault::TftpError(0, "no tsize in the answer".to_owned()))
    }

    /// RFC 1350 with a block of the size both want.
    async fn read(&mut self, name: &str) -> Result<u64, Fault> {
        let answer = self.first(name, "blksize\x001456\0").await?;
        let block_size = option(answer, "blksize").unwrap_or(512);
        let (mut number, mut length) = (0_u16, 0);
        loop {
            let [high, low] = number.to_be_bytes();
            let ack = [0, 4, high, low];
            let wanted = number.wrapping_add(1);
            let data = self
                .exchange(&ack, |packet| {
                    word(packet, 0) == Some(DATA) && word(packet, 2) == Some(wanted)
                })
                .await?;
            let bytes = data.len().saturating_sub(4) as u64;
            number = wanted;
            length += bytes;
            if bytes < block_size {
                let [high, low] = number.to_be_bytes();
                self.socket.send_to(&[0, 4, high, low], self.peer).await?;
                return Ok(length);
            }
        }
    }

    /// The request; the server goes on from another port.
    async fn first(&mut self, name: &str, options: &str) -> Result<&[u8], Fault> {
        let mut request = vec![0, 1];
        request.extend(format!("{name}\0octet\0{options}").bytes());
        let asked = Instant::now();
        self.exchange(&request, |packet| word(packet, 0) == Some(OACK))
            .await?;
        self.machine.waited(Question::Tftp, asked);
        Ok(&self.packet)
    }

    /// Sends until there is an answer that is wanted.
    async fn exchange(
        &mut self,
        out: &[u8],
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<&[u8], Fault> {
        debug_assert!(matches!(word(out, 0), Some(RRQ | ACK)));
        for tries in 0..TRIES {
            self.machine.notes.borrow_mut().again += u64::from(tries > 0);
            self.socket.send_to(out, self.peer).await?;
            let heard = tokio::time::timeout(AGAIN, self.hear(&wanted)).await;
            if let Ok(heard) = heard {
                heard?;
                return Ok(&self.packet);
            }
        }
        Err(Fault::TftpSilent(TRIES))
    }

    async fn hear(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<(), Fault> {
        loop {
            self.packet.resize(1500, 0);
            let (length, from) = self.socket.recv_from(&mut self.packet).await?;
            self.packet.truncate(length);
            let SocketAddr::V4(from) = from else { continue };
            let known = from == self.peer || self.peer.port() == 69;
            if from.ip() != self.peer.ip() || !known {
                continue;
            }
            if word(&self.packet, 0) == Some(ERROR) {
                let text = self.packet.get(4..).unwrap_or_default();
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                let code = word(&self.packet, 2).unwrap_or(0);
                return Err(Fault::TftpError(code, String::from_utf8_lossy(text).into()));
            }
            if wanted(&self.packet) {
                self.peer = from;
                return Ok(());
            }
        }
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// A number in an OACK (RFC 2347).
fn option(oack: &[u8], name: &str) -> Option<u64> {
    let mut words = oack.get(2..)?.split(|byte| *byte == 0);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            return std::str::from_utf8(value).ok()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_of_an_oack() {
        let oack = b"\0\x06blksize\x001456\0tsize\x0070000\0";
        assert_eq!(option(oack, "tsize"), Some(70_000));
        assert_eq!(option(oack, "blksize"), Some(1456));
        assert_eq!(option(oack, "windowsize"), None);
        assert_eq!(option(b"\0\x06tsize\0x\0", "tsize"), None);
        assert_eq!(option(b"", "tsize"), None);
    }

    proptest! {
        #[test]
        fn never_panics(garbage in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = option(&garbage, "tsize");
            let _ = word(&garbage, 2);
        }
    }
}

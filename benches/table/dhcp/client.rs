//! A thousand machines that ask, some of them at a time, from one socket.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use socket2::{Domain, Socket, Type};

use super::server::Server;

const MACHINES: u32 = 1_000;
/// Requests on the way at once: more than a server's round trip needs, fewer than a socket's queue takes.
const WINDOW: u32 = 64;

/// 10.98.1.1, in both servers' pools.
const FIRST: u32 = 0x0a62_0101;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// By PXE firmware, to a proxy.
    Discover,
    /// For an address that was offered to it.
    Request,
}

/// The machines.
pub(crate) struct Client {
    socket: UdpSocket,
    question: Question,
    /// What each was offered.
    addresses: HashMap<u32, Ipv4Addr>,
    next: u32,
}

impl Client {
    pub(crate) fn new(server: &Server, question: Question) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind_device(Some(server.interface.as_bytes()))?;
        socket.set_broadcast(true)?;
        socket.set_reuse_address(true)?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
        let socket: UdpSocket = socket.into();
        let mut client = Self {
            socket,
            question,
            addresses: HashMap::new(),
            next: 0,
        };
        if question == Question::Request {
            client.learn()?;
        }
        Ok(client)
    }

    /// Each machine gets its address first, and asks for one of its own: dnsmasq would offer one address to several and
    /// refuse all but the first. A server may look whether it is free before it answers.
    fn learn(&mut self) -> anyhow::Result<()> {
        self.socket
            .set_read_timeout(Some(Duration::from_millis(500)))?;
        for _ in 0..40 {
            let missing: Vec<u32> = (0..MACHINES)
                .filter(|machine| !self.addresses.contains_key(machine))
                .take(100)
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            for machine in missing {
                let mut options = vec![53, 1, 1, 50, 4];
                options.extend((FIRST + machine).to_be_bytes());
                self.send(machine, &options)?;
            }
            while let Some(answer) = self.receive()? {
                match answer.kind {
                    OFFER => self.request(answer.machine, answer.address)?,
                    ACK => drop(self.addresses.insert(answer.machine, answer.address)),
                    _ => {}
                }
            }
        }
        bail!(
            "{} of {MACHINES} machines got an address",
            self.addresses.len()
        )
    }

    /// Asks until so many answers have come, and says how long that took.
    pub(crate) fn ask(&mut self, answers: u32) -> anyhow::Result<Duration> {
        self.socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let begin = Instant::now();
        for _ in 0..WINDOW {
            self.ask_one()?;
        }
        for _ in 0..answers {
            let answer = self.receive()?.context("no answer within 2 s")?;
            ensure!(matches!(answer.kind, OFFER | ACK), "refused");
            self.ask_one()?;
        }
        let took = begin.elapsed();
        // What is still on the way belongs to this run.
        for _ in 0..WINDOW {
            self.receive()?.context("the last answers did not come")?;
        }
        Ok(took)
    }

    fn ask_one(&mut self) -> anyhow::Result<()> {
        let machine = self.next % MACHINES;
        self.next += 1;
        match (self.question, self.addresses.get(&machine)) {
            (Question::Discover, _) => self.send(machine, &[53, 1, 1]),
            (Question::Request, Some(address)) => self.request(machine, *address),
            (Question::Request, None) => bail!("machine {machine} has no address"),
        }
    }

    fn request(&self, machine: u32, address: Ipv4Addr) -> anyhow::Result<()> {
        let mut options = vec![53, 1, 3, 54, 4, 10, 98, 0, 1, 50, 4];
        options.extend(address.octets());
        self.send(machine, &options)
    }

    fn send(&self, machine: u32, options: &[u8]) -> anyhow::Result<()> {
        let mut packet = [0_u8; 236].to_vec();
        packet[..4].copy_from_slice(&[1, 1, 6, 0]);
        packet[4..8].copy_from_slice(&machine.to_be_bytes());
        packet[10] = 0x80;
        packet[28..30].copy_from_slice(&[2, 0x77]);
        packet[30..34].copy_from_slice(&machine.to_be_bytes());
        packet.extend([0x63, 0x82, 0x53, 0x63]);
        packet.extend(options);
        packet.extend([93, 2, 0, 0, 94, 3, 1, 2, 1, 97, 17, 0]);
        packet.extend([machine.to_be_bytes(); 4].concat());
        packet.extend([60, 32]);
        packet.extend(b"PXEClient:Arch:00000:UNDI:002001");
        packet.extend([55, 5, 1, 3, 43, 60, 67, 255]);
        packet.resize(packet.len().max(300), 0);
        self.socket.send_to(&packet, (Ipv4Addr::BROADCAST, 67))?;
        Ok(())
    }

    fn receive(&self) -> anyhow::Result<Option<Answer>> {
        let mut buffer = [0; 1500];
        let length = match self.socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        ensure!(length >= 243 && buffer[0] == 2, "not an answer");
        // Both servers put the message type first.
        ensure!(buffer[240..242] == [53, 1], "no message type");
        let four = |at: usize| <[u8; 4]>::try_from(&buffer[at..at + 4]);
        Ok(Some(Answer {
            kind: buffer[242],
            machine: u32::from_be_bytes(four(4)?),
            address: four(16)?.into(),
        }))
    }
}

const OFFER: u8 = 2;
const ACK: u8 = 5;

struct Answer {
    kind: u8,
    machine: u32,
    address: Ipv4Addr,
}

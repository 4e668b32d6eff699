//! One socket on port 68 for all machines: answers are broadcast, and go to whoever's exchange they answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::fault::{Fault, GIVE_UP};
use crate::firmware::Asker;
use crate::message::{Answer, Speaker};
use crate::route::Addresses;
use crate::stage::Question;

/// RFC 2131 §3.1 step 4: who is refused begins again. What it was offered before a restart may be another machine's after it.
const AFTER_NAK: Duration = Duration::from_secs(1);

/// The socket, and who waits for what.
#[derive(Debug)]
pub(crate) struct Air {
    socket: UdpSocket,
    waiting: RefCell<HashMap<u32, UnboundedSender<Answer>>>,
}

impl Air {
    pub(crate) fn new(interface: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_broadcast(true)?;
        socket.set_nonblocking(true)?;
        // Answers to a thousand machines at once; what is lost here would be blamed on the manager.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            waiting: RefCell::default(),
        })
    }

    /// Hands out answers, for ever.
    pub(crate) async fn pump(&self) -> io::Result<()> {
        let mut buffer = [0; 1500];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            if let Some(answer) = buffer.get(..length).and_then(Answer::parse)
                && let Some(to) = self.waiting.borrow().get(&answer.xid)
            {
                // Who does not listen any more has what it wanted.
                let _ = to.send(answer);
            }
        }
    }

    async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        self.socket.send_to(packet, to).await.map(drop)
    }
}

impl Asker {
    /// DISCOVER, OFFER, REQUEST, ACK. The address is here from then on.
    pub(crate) async fn lease(
        &self,
        speaker: Speaker,
        addresses: &Addresses,
    ) -> Result<Answer, Fault> {
        // The number of the machine in it, so that no two exchanges of a storm have one id.
        let xid = self.id.number << 8 | self.chance() & 0xff;
        let (sender, mut receiver) = unbounded_channel();
        self.air.waiting.borrow_mut().insert(xid, sender);
        let exchange = self.exchange(speaker, xid, &mut receiver);
        let lease = tokio::time::timeout(GIVE_UP, exchange).await;
        self.air.waiting.borrow_mut().remove(&xid);
        let lease = lease.unwrap_or(Err(Fault::NoAnswer("lease")))?;
        addresses.add(lease.address)?;
        Ok(lease)
    }

    async fn exchange(
        &self,
        speaker: Speaker,
        xid: u32,
        answers: &mut UnboundedReceiver<Answer>,
    ) -> Result<Answer, Fault> {
        loop {
            let offer = self
                .until(speaker, xid, None, MessageType::Offer, answers)
                .await?;
            let ack = self.until(speaker, xid, Some(&offer), MessageType::Ack, answers);
            match ack.await {
                Err(Fault::Refused) => self.notes.borrow_mut().refused += 1,
                done => return done,
            }
            tokio::time::sleep(AFTER_NAK).await;
        }
    }

    /// Says it until there is an answer.
    async fn until(
        &self,
        speaker: Speaker,
        xid: u32,
        offer: Option<&Answer>,
        wanted: MessageType,
        answers: &mut UnboundedReceiver<Answer>,
    ) -> Result<Answer, Fault> {
        let packet = self
            .id
            .says(speaker, xid, offer)
            .map_err(io::Error::other)?;
        let asked = Instant::now();
        for tries in 0.. {
            self.notes.borrow_mut().again += u64::from(tries > 0);
            self.air.send(&packet).await?;
            let patience = self.around(speaker.patience(tries));
            if let Some(answer) = next(answers, wanted, patience).await? {
                self.waited(Question::Dhcp, asked);
                return Ok(answer);
            }
        }
        Err(Fault::NoAnswer("answer"))
    }
}

/// What another question was answered with is passed over.
async fn next(
    answers: &mut UnboundedReceiver<Answer>,
    wanted: MessageType,
    patience: Duration,
) -> Result<Option<Answer>, Fault> {
    let answer = async {
        while let Some(answer) = answers.recv().await {
            match answer.kind {
                MessageType::Nak => return Err(Fault::Refused),
                kind if kind == wanted => return Ok(Some(answer)),
                _ => {}
            }
        }
        Ok(None)
    };
    tokio::time::timeout(patience, answer)
        .await
        .unwrap_or(Ok(None))
}

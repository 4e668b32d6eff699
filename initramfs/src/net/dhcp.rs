//! The DHCP client (RFC 2131) as a machine without I/O: packets, time and chance go in, packets and a [`Lease`] come
//! out. It never gives up, believes nothing it did not ask for, and changes its state only after a send succeeded.
//!
//! There is no renewal: the address is set without a lifetime, because it must outlive every server.

mod sift;

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dhcproto::v4::{
    DhcpOption, DhcpOptions, Flags, HType, Message, MessageType, Opcode, OptionCode,
};
use dhcproto::{Decodable, Decoder, Encodable};
use ramboot_wire::Mac;
use ramboot_wire::dhcp::INIT_CLASS;
use sift::Sifted;

use crate::net::lease::{Lease, LeaseError, Reply};

/// What the worker says about itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Of the link this client works on.
    pub mac: Mac,
    /// Sent as option 12, so that a server can put it in its DNS.
    pub hostname: Option<String>,
}

/// One exchange on one link.
#[derive(Debug)]
pub struct Client {
    identity: Identity,
    xid: u32,
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Discovering {
        send_at: Instant,
        tries: u32,
    },
    Requesting {
        /// What was offered.
        offer: Lease,
        send_at: Instant,
        tries: u32,
    },
    Bound(Lease),
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The exchange is over: [`Client::lease`] has the result.
    Bound,
    /// Nothing changed, and why.
    Ignored(Why),
    /// An offer that will be requested at the next [`Client::dispatch`].
    Offered,
    /// The server took its offer back: from the start.
    Refused,
}

/// Why a packet changed nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not a DHCP message for this machine.
    #[error("not a DHCP reply to this machine")]
    NotForUs,
    /// Answers another exchange.
    #[error("xid {0:08x} is not ours")]
    OtherExchange(u32),
    /// proxyDHCP: boot information for firmware, no address (PXE 2.1 §2.2.3).
    #[error("an offer without an address (proxyDHCP)")]
    NoAddress,
    /// Answers another server's offer, or comes at the wrong time.
    #[error("not expected now")]
    Unexpected,
    /// Offers something that cannot be used.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Client {
    /// Starts at once.
    #[must_use]
    pub const fn new(identity: Identity, now: Instant) -> Self {
        Self {
            identity,
            xid: 0,
            since: now,
            state: State::Discovering {
                send_at: now,
                tries: 0,
            },
        }
    }

    /// The result, once there is one.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease) => Some(lease),
            _ => None,
        }
    }

    /// When [`Self::dispatch`] has something to send.
    #[must_use]
    pub const fn poll_at(&self) -> Option<Instant> {
        match &self.state {
            State::Discovering { send_at, .. } | State::Requesting { send_at, .. } => {
                Some(*send_at)
            }
            State::Bound(_) => None,
        }
    }

    /// Takes the payload of a datagram to port 68.
    pub fn process(&mut self, now: Instant, packet: &[u8]) -> Outcome {
        let reply = match self.read(packet) {
            Ok(reply) => reply,
            Err(why) => return Outcome::Ignored(why),
        };
        let message = &reply.message;
        match (&mut self.state, message.opts().msg_type()) {
            (State::Discovering { tries, .. }, Some(MessageType::Offer)) if *tries > 0 => {
                if message.yiaddr().is_unspecified() {
                    return Outcome::Ignored(Why::NoAddress);
                }
                match Lease::read(&reply) {
                    Ok(offer) => {
                        self.state = State::Requesting {
                            offer,
                            send_at: now,
                            tries: 0,
                        };
                        Outcome::Offered
                    }
                    Err(error) => Outcome::Ignored(error.into()),
                }
            }
            (State::Requesting { offer, tries, .. }, Some(MessageType::Ack)) if *tries > 0 => {
                match Lease::read(&reply) {
                    Ok(lease) if lease.server == offer.server => {
                        self.state = State::Bound(lease);
                        Outcome::Bound
                    }
                    Ok(_) => Outcome::Ignored(Why::Unexpected),
                    Err(error) => Outcome::Ignored(error.into()),
                }
            }
            (State::Requesting { offer, tries, .. }, Some(MessageType::Nak))
                if *tries > 0 && server(message) == Some(offer.server) =>
            {
                // RFC 2131 §3.1 step 4: restart. Not at once, or a confused server and we would make a storm.
                self.state = State::Discovering {
                    send_at: now + AFTER_NAK,
                    tries: 0,
                };
                Outcome::Refused
            }
            _ => Outcome::Ignored(Why::Unexpected),
        }
    }

    /// Sends what is due. `chance` is any number, all equally likely: it becomes jitter, and the transaction id of
    /// a new exchange. `emit` broadcasts to port 67.
    ///
    /// # Errors
    /// Those of `emit`; the same packet is due again a little later.
    pub fn dispatch(
        &mut self,
        now: Instant,
        chance: u32,
        emit: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.poll_at().is_none_or(|at| now < at) {
            return Ok(());
        }
        if matches!(self.state, State::Discovering { tries: 0, .. }) {
            // A new exchange has a new id, so that a late answer to an old one is not taken for one to this.
            self.xid = chance;
        }
        let sent = self
            .message(now)
            .and_then(|message| message.to_vec().map_err(io::Error::other))
            .and_then(|packet| emit(&packet));
        let (send_at, tries) = match &mut self.state {
            State::Discovering { send_at, tries } | State::Requesting { send_at, tries, .. } => {
                (send_at, tries)
            }
            State::Bound(_) => return Ok(()),
        };
        if sent.is_err() {
            *send_at = now + AFTER_ERROR;
            return sent;
        }
        *send_at = now + retransmit(*tries, chance);
        *tries = tries.saturating_add(1);
        let (at, given_up) = (*send_at, *tries > MAX_REQUESTS);
        if given_up && matches!(self.state, State::Requesting { .. }) {
            // The server that offered is gone: whoever is there now may answer a new DISCOVER.
            self.state = State::Discovering {
                send_at: at,
                tries: 0,
            };
        }
        Ok(())
    }

    fn read(&self, packet: &[u8]) -> Result<Reply, Why> {
        // dhcproto checks neither the magic cookie nor that hlen fits chaddr.
        if packet.get(2) != Some(&6) || packet.get(236..240) != Some(&MAGIC) {
            return Err(Why::NotForUs);
        }
        let Sifted {
            packet,
            routes,
            search,
        } = sift::sift(packet).ok_or(Why::NotForUs)?;
        let message = Message::decode(&mut Decoder::new(&packet)).map_err(|_| Why::NotForUs)?;
        if message.opcode() != Opcode::BootReply || message.chaddr() != self.identity.mac.0 {
            return Err(Why::NotForUs);
        }
        if message.xid() != self.xid {
            return Err(Why::OtherExchange(message.xid()));
        }
        Ok(Reply {
            message,
            routes,
            search,
        })
    }

    fn message(&self, now: Instant) -> io::Result<Message> {
        let mut options = DhcpOptions::new();
        match &self.state {
            State::Discovering { .. } => {
                options.insert(DhcpOption::MessageType(MessageType::Discover));
            }
            State::Requesting { offer, .. } => {
                options.insert(DhcpOption::MessageType(MessageType::Request));
                options.insert(DhcpOption::RequestedIpAddress(offer.addr));
                options.insert(DhcpOption::ServerIdentifier(offer.server));
            }
            State::Bound(_) => return Err(io::Error::other("nothing to ask for")),
        }
        // The client id iPXE sends (RFC 2132 §9.14: hardware type, then address): a server that keys its leases on
        // it gives firmware and worker the same one.
        let client_id = [&[1], &self.identity.mac.0[..]].concat();
        options.insert(DhcpOption::ClientIdentifier(client_id));
        options.insert(DhcpOption::ClassIdentifier(INIT_CLASS.to_vec()));
        options.insert(DhcpOption::MaxMessageSize(MAX_MESSAGE));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            // RFC 3442: it MUST stand before the routers.
            OptionCode::ClasslessStaticRoute,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::DomainName,
            OptionCode::DomainSearch,
            OptionCode::InterfaceMtu,
            OptionCode::NtpServers,
            OptionCode::AddressLeaseTime,
        ]));
        if let Some(name) = &self.identity.hostname {
            options.insert(DhcpOption::Hostname(name.clone()));
        }
        let mut message = blank()?;
        message
            .set_opcode(Opcode::BootRequest)
            .set_htype(HType::Eth)
            .set_chaddr(&self.identity.mac.0)
            .set_xid(self.xid)
            .set_secs(
                u16::try_from(now.saturating_duration_since(self.since).as_secs())
                    .unwrap_or(u16::MAX),
            )
            // Without an address a UDP socket hears broadcasts only (RFC 2131 §4.1).
            .set_flags(Flags::default().set_broadcast())
            .set_opts(options);
        Ok(message)
    }
}

/// A message of zeros, by way of the decoder: every constructor of dhcproto 0.15 draws an id from the kernel's random
/// pool, and before that is ready this waits: a second on a small virtual machine, longer on a board without a
/// hardware generator.
fn blank() -> io::Result<Message> {
    let zeros = [&[0; FIXED_FIELDS][..], &MAGIC].concat();
    Message::decode(&mut Decoder::new(&zeros)).map_err(io::Error::other)
}

fn server(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    }
}

/// RFC 2131 §4.1 doubles from 4 s to 64 s with ± 1 s of chance. From 1 s and to 16 s here, because the commonest
/// cause of silence is a switch port that forwards nothing for up to 30 s (spanning tree), and the worker has
/// nothing else to do.
fn retransmit(tries: u32, chance: u32) -> Duration {
    let base = Duration::from_secs(1 << tries.min(4));
    base.mul_f64(0.75 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
}

/// From `op` to `file` (RFC 2131 §2).
const FIXED_FIELDS: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const MAX_REQUESTS: u32 = 4;
const AFTER_NAK: Duration = Duration::from_secs(1);
/// ENETDOWN and ENOBUFS pass; so does a link that was pulled.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// An Ethernet frame's worth, less IP and UDP headers.
const MAX_MESSAGE: u16 = 1472;

#[cfg(test)]
mod tests;

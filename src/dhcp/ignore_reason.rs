//! Why a packet gets no answer. Silence always has one of these reasons, so tests and the log can tell them apart.

use std::net::Ipv4Addr;

use ramboot_wire::Mac;

use super::firmware::Firmware;
use crate::config::network::Network;

/// The reason for a silence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Longer than any request of a boot client.
    #[error("more than {max} bytes")]
    TooLong {
        /// What is taken.
        max: usize,
    },
    /// Ends before the options begin.
    #[error("{0} bytes, a request has at least 240")]
    TooShort(usize),
    /// Somebody's answer, not a question.
    #[error("op {0} is not BOOTREQUEST")]
    NotARequest(u8),
    /// Neither Ethernet nor InfiniBand.
    #[error(
        "hardware type {htype} with addresses of {hlen} bytes, only Ethernet (1, 6) and InfiniBand (32, 0) are possible"
    )]
    NotEthernet {
        /// As it stands in the packet.
        htype: u8,
        /// As it stands in the packet.
        hlen: u8,
    },
    /// RFC 4390 §2.1: without it no machine on InfiniBand can be told from another.
    #[error("a client on InfiniBand that sends no client identifier (option 61)")]
    NoClientId,
    /// No machine has this address.
    #[error("{0} is not the address of a machine")]
    NotAMachine(Mac),
    /// RFC 951 without options, or not DHCP at all.
    #[error("no DHCP message type: BOOTP is not answered")]
    Bootp,
    /// A message type that servers send, or that is not known.
    #[error("DHCP message type {0} is none that clients send")]
    NotAClients(u8),
    /// An option whose length cannot be right.
    #[error("option {code} has {len} bytes")]
    BadOption {
        /// Which.
        code: u8,
        /// Its length.
        len: usize,
    },
    /// A DHCPREQUEST that fits none of the four states of RFC 2131 §4.3.2.
    #[error("a DHCPREQUEST that names no address, or two ({ciaddr} and {requested})")]
    Shapeless {
        /// The address the client says it has.
        ciaddr: Ipv4Addr,
        /// The address it asks for.
        requested: Ipv4Addr,
    },

    /// No worker can have this architecture.
    #[error("there are no workers for {0}: only x86-64 and 64-bit Arm machines boot")]
    NoWorker(Firmware),
    /// Full mode has no pool for the network a relay is in, or names.
    #[error(
        "relayed from {0}, a network without a pool: add it as [[network]] with address and pool, or let another server give addresses there"
    )]
    Relayed(Ipv4Addr),

    /// An operating system asking for an address in proxy mode.
    #[error("did not ask to boot")]
    NotNetboot,
    /// It would take a proxy's offer for one with an address, and have none (U-Boot without SERVERIP_FROM_PROXYDHCP).
    #[error("{0} does not know proxyDHCP: use mode full, or set serverip there")]
    NoProxy(Firmware),
    /// `/init` asking for an address in proxy mode.
    #[error("wants an address only: that is the other DHCP server's part")]
    AddressOnly,
    /// Accepts another server's offer.
    #[error("chose the server {0}")]
    OtherServer(Ipv4Addr),
    /// Renews, releases or declines an address; a proxy gave none.
    #[error("is about an address, which a proxy does not give")]
    NotOurAddress,
    /// Nothing left to give.
    #[error("no address is free in the pool: make --pool larger")]
    PoolExhausted,
    /// Addresses behind a relay cannot be asked for by ARP, and running workers send heartbeats: the manager listens first.
    #[error(
        "the manager has just started: in the first minute it listens which addresses behind relays are in use"
    )]
    JustStarted,
    /// More machines wait for an address to be looked for than can at once.
    #[error("too many machines ask for new addresses at once: it asks again")]
    Busy,
    /// The machine names an address that was found in use, perhaps by itself.
    #[error("names {0}, which somebody uses, perhaps the machine itself")]
    InUse(Ipv4Addr),
    /// The address reserved for it is in use by somebody else.
    #[error(
        "its address {0} was found in use by another machine: change the reservation or that machine"
    )]
    ReservationInUse(Ipv4Addr),
    /// RFC 2131 §4.3.2: a server without a record of the client stays silent.
    #[error("has {0}, which is not of our pool: RFC 2131 §4.3.2 wants silence")]
    NoRecord(Ipv4Addr),
    /// Done; RFC 2131 has no answer to it.
    #[error("gave {0} back")]
    Released(Ipv4Addr),
    /// Done; RFC 2131 has no answer to it.
    #[error("found {0} in use: set aside")]
    Declined(Ipv4Addr),
    /// Says something about an address it does not hold.
    #[error("speaks of {0}, which it does not hold")]
    NotHolder(Ipv4Addr),
    /// The interface is served for its relays only.
    #[error("asks in {0}, a network without a pool: add it as [[network]] with address and pool")]
    NoPoolHere(Network),
}

impl Why {
    /// In one word, for who counts; a label of `ramboot_dhcp_decisions_total`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too-long",
            Self::TooShort(_) => "too-short",
            Self::NotARequest(_) => "not-a-request",
            Self::NotEthernet { .. } => "not-ethernet",
            Self::NoClientId => "no-client-id",
            Self::NotAMachine(_) => "not-a-machine",
            Self::Bootp => "bootp",
            Self::NotAClients(_) => "not-a-clients",
            Self::BadOption { .. } => "bad-option",
            Self::Shapeless { .. } => "shapeless",
            Self::NoWorker(_) => "no-worker",
            Self::Relayed(_) => "relayed",
            Self::NotNetboot => "not-netboot",
            Self::NoProxy(_) => "no-proxy",
            Self::AddressOnly => "address-only",
            Self::OtherServer(_) => "other-server",
            Self::NotOurAddress => "not-our-address",
            Self::PoolExhausted => "pool-exhausted",
            Self::JustStarted => "just-started",
            Self::Busy => "busy",
            Self::InUse(_) => "in-use",
            Self::ReservationInUse(_) => "reservation-in-use",
            Self::NoRecord(_) => "no-record",
            Self::Released(_) => "released",
            Self::Declined(_) => "declined",
            Self::NotHolder(_) => "not-holder",
            Self::NoPoolHere(_) => "no-pool-here",
        }
    }

    /// The packet itself is at fault.
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. }
                | Self::TooShort(_)
                | Self::NotARequest(_)
                | Self::NotEthernet { .. }
                | Self::NoClientId
                | Self::NotAMachine(_)
                | Self::Bootp
                | Self::NotAClients(_)
                | Self::BadOption { .. }
                | Self::Shapeless { .. }
        )
    }

    /// Silence that a person waiting for a machine to boot should hear about.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        matches!(
            self,
            Self::NoWorker(_)
                | Self::NoProxy(_)
                | Self::Relayed(_)
                | Self::PoolExhausted
                | Self::JustStarted
                | Self::ReservationInUse(_)
                | Self::Declined(_)
                | Self::NoPoolHere(_)
        )
    }
}

//! Requests for tests, each spelled out as far as it is special.

use std::net::{Ipv4Addr, SocketAddrV4};

use ramboot_wire::Mac;

use super::policy::Policy;
use super::request::{Arrival, Port, Request, parse};
use crate::config::Config;
use crate::host::interface::Interface;

pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// A client's message; `..` of the constructors below.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) mac: Mac,
    pub(super) flags: u16,
    pub(super) ciaddr: [u8; 4],
    pub(super) giaddr: [u8; 4],
    pub(super) source: SocketAddrV4,
    pub(super) options: Vec<(u8, Vec<u8>)>,
}

impl Client {
    pub(super) fn system() -> Self {
        Self {
            mac: MAC,
            flags: 0,
            ciaddr: [0; 4],
            giaddr: [0; 4],
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            options: Vec::new(),
        }
    }

    pub(super) fn bios() -> Self {
        Self::system()
            .option(60, b"PXEClient:Arch:00000:UNDI:002001")
            .option(93, &[0, 0])
            .option(97, &[0; 17])
    }

    pub(super) fn ipxe() -> Self {
        Self::bios().option(77, b"iPXE").option(175, &[0x13, 1, 1])
    }

    pub(super) fn init() -> Self {
        Self::system().option(60, b"ramboot")
    }

    pub(super) fn option(mut self, code: u8, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        self
    }

    /// In parts, if it is longer than one holds (RFC 3396); none if it is empty.
    pub(super) fn long_option(self, code: u8, data: &[u8]) -> Self {
        let parts = data.chunks(255);
        parts.fold(self, |client, part| client.option(code, part))
    }

    fn kind(mut self, kind: u8) -> Self {
        self.options.insert(0, (53, vec![kind]));
        self
    }

    pub(super) fn discover(self) -> Self {
        self.kind(1)
    }

    /// SELECTING.
    pub(super) fn request(self, address: [u8; 4], server: [u8; 4]) -> Self {
        self.kind(3).option(50, &address).option(54, &server)
    }

    /// INIT-REBOOT.
    pub(super) fn reboot(self, address: [u8; 4]) -> Self {
        self.kind(3).option(50, &address)
    }

    /// RENEWING and REBINDING.
    pub(super) fn renew(self, ciaddr: [u8; 4]) -> Self {
        Self {
            ciaddr,
            ..self.kind(3)
        }
    }

    pub(super) fn decline(self, address: [u8; 4]) -> Self {
        self.kind(4)
            .option(50, &address)
            .option(54, &SERVER.octets())
    }

    pub(super) fn release(self, ciaddr: [u8; 4]) -> Self {
        Self {
            ciaddr,
            ..self.kind(7).option(54, &SERVER.octets())
        }
    }

    pub(super) fn inform(self, ciaddr: [u8; 4]) -> Self {
        Self {
            ciaddr,
            ..self.kind(8)
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0];
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.ciaddr);
        bytes.extend([0; 8]);
        bytes.extend(self.giaddr);
        bytes.extend(self.mac.0);
        bytes.resize(236, 0);
        bytes.extend([0x63, 0x82, 0x53, 0x63]);
        for (code, data) in &self.options {
            bytes.extend([*code, u8::try_from(data.len()).expect("short")]);
            bytes.extend(data);
        }
        bytes.push(255);
        bytes
    }

    pub(super) fn parse(&self, port: Port) -> Request {
        let arrival = Arrival {
            source: self.source,
            ..arrival(port)
        };
        parse(&self.bytes(), arrival).expect("a request")
    }
}

pub(super) fn arrival(port: Port) -> Arrival {
    Arrival {
        port,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
    }
}

/// On br0, 10.0.0.1/24, HTTP on 8067.
pub(super) fn policy(config: &str) -> Policy {
    let interface = Interface {
        name: "br0".to_owned(),
        index: 2,
        address: SERVER,
        prefix_len: 24,
        mac: None,
    };
    let config = Config::parse(config).expect("a config");
    Policy::new(&config, &interface, 8067)
        .expect("fits")
        .expect("on")
}

pub(super) fn proxy() -> Policy {
    policy("")
}

/// Ten addresses, an hour; 02:…:99 has 10.0.0.50 reserved.
pub(super) fn full() -> Policy {
    policy(
        "[dhcp]\nmode = \"full\"\npool = \"10.0.0.100-10.0.0.109\"\nlease = 3600\n\
         [[worker]]\nmac = \"02:00:00:00:00:99\"\naddress = \"10.0.0.50\"",
    )
}

//! Who has a port: best effort, for what is said to people only.

use std::fmt;
use std::fs;
use std::net::SocketAddrV4;

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

/// A process that has a port open; as text "dnsmasq (pid 712)".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// As the kernel has it in `/proc/PID/comm`, at most 15 bytes; empty if it has just ended.
    pub program: String,
    /// In this process's PID namespace.
    pub pid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

/// Whichever process this user may see that has `port` open; `None` if none is found.
#[must_use]
pub fn owner(proto: Proto, port: u16) -> Option<Owner> {
    let wanted = links(proto, &format!(":{port:04X}"));
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        entry
            .ok()?
            .file_name()
            .into_string()
            .ok()?
            .parse::<u32>()
            .ok()
    });
    pids.into_iter()
        .find(|pid| holds(*pid, &wanted))
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Owner {
                program: name.trim_end().to_owned(),
                pid,
            }
        })
}

/// Whether this process has a socket bound to just this address and port, as far as this user may see it.
#[must_use]
pub fn is_held_by(pid: u32, proto: Proto, local: SocketAddrV4) -> bool {
    // The kernel prints the address as a number that lies in memory as it goes over the network.
    let address = u32::from_ne_bytes(local.ip().octets());
    holds(
        pid,
        &links(proto, &format!("{address:08X}:{:04X}", local.port())),
    )
}

/// Sockets whose local address ends so, as links of /proc/PID/fd.
fn links(proto: Proto, local: &str) -> Vec<String> {
    let files: &[&str] = match proto {
        Proto::Tcp => &["/proc/self/net/tcp", "/proc/self/net/tcp6"],
        Proto::Udp => &["/proc/self/net/udp", "/proc/self/net/udp6"],
    };
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| inodes(&text, proto, local))
        .map(|inode| format!("socket:[{inode}]"))
        .collect()
}

fn holds(pid: u32, wanted: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|link| wanted.iter().any(|w| link.as_os_str() == w.as_str()))
}

/// Inodes of the sockets whose local address ends so, from the text of /proc/net/tcp and its like (proc(5)).
fn inodes(text: &str, proto: Proto, end: &str) -> Vec<String> {
    let listening = |state: &str| proto == Proto::Udp || state == "0A";
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, local, _, state, _, _, _, _, _, inode, ..]
                if local.ends_with(end) && listening(state) =>
            {
                Some(inode.to_owned())
            }
            _ => None,
        }
    };
    text.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_listening_socket() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                    0: 00000000:1F83 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
                    1: 0100007F:1F83 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
                    short line\n";
        assert_eq!(inodes(text, Proto::Tcp, ":1F83"), ["4711"]);
        assert_eq!(inodes(text, Proto::Udp, ":1F83"), ["4711", "4712"]);
        assert_eq!(inodes(text, Proto::Udp, "0100007F:1F83"), ["4712"]);
        assert_eq!(inodes(text, Proto::Tcp, ":0050"), [""; 0]);
    }

    #[test]
    fn names_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let owner = owner(Proto::Tcp, port).expect("found");
        let own = std::process::id();
        assert_eq!(owner.pid, own, "{owner}");
        assert_eq!(owner.to_string(), format!("{} (pid {own})", owner.program));
        let held = |pid, address: [u8; 4]| {
            is_held_by(pid, Proto::Tcp, SocketAddrV4::new(address.into(), port))
        };
        assert!(held(own, [127, 0, 0, 1]));
        assert!(!held(own, [127, 0, 0, 2]), "another address");
        assert!(!held(1, [127, 0, 0, 1]), "another process");
    }
}

//! Who has a port: best effort, for the error message only.

use std::fs;

/// Transport of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proto {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

/// "dnsmasq (pid 712)", for whichever process this user may see that has `port` open; `None` if none is found.
#[must_use]
pub fn owner(proto: Proto, port: u16) -> Option<String> {
    let files: &[&str] = match proto {
        Proto::Tcp => &["/proc/self/net/tcp", "/proc/self/net/tcp6"],
        Proto::Udp => &["/proc/self/net/udp", "/proc/self/net/udp6"],
    };
    let inodes: Vec<String> = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| inodes(&text, proto, port))
        .collect();
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
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
            format!("{} (pid {pid})", name.trim_end())
        })
}

fn holds(pid: u32, wanted: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .any(|link| wanted.iter().any(|w| link.as_os_str() == w.as_str()))
}

/// Inodes of the sockets bound to `port`, from the text of /proc/net/tcp and its like (proc(5)).
fn inodes(text: &str, proto: Proto, port: u16) -> Vec<String> {
    let listening = |state: &str| proto == Proto::Udp || state == "0A";
    let port = format!(":{port:04X}");
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, local, _, state, _, _, _, _, _, inode, ..]
                if local.ends_with(&port) && listening(state) =>
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
        assert_eq!(inodes(text, Proto::Tcp, 8067), ["4711"]);
        assert_eq!(inodes(text, Proto::Udp, 8067), ["4711", "4712"]);
        assert_eq!(inodes(text, Proto::Tcp, 80), [""; 0]);
    }

    #[test]
    fn names_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let owner = owner(Proto::Tcp, port).expect("found");
        assert!(
            owner.ends_with(&format!("(pid {})", std::process::id())),
            "{owner}"
        );
    }
}

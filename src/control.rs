//! The running manager's door for this machine: a Unix socket, one question and one answer a connection, each a line of JSON.
//!
//! It is there because a machine's own broadcasts do not reach its own sockets that are bound to a device: whoever wants to
//! know here what the manager would answer to a packet has to hand it in. Nothing that is asked changes anything. This is
//! the language and the asking side; `serve` has the other.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Where the socket is, unless told otherwise.
pub const FOLDER: &str = "/run/ramboot";
/// Its name in there.
pub const SOCKET: &str = "control.sock";
/// MACs of machines that doctor simulates begin with these, so that whoever counts machines can leave them out. Locally
/// administered.
pub const SIMULATED: [u8; 3] = [0x02, 0x72, 0x62];
/// Longest question: a packet of an Ethernet frame, in hexadecimal, and words around it.
pub const MAX_QUESTION_BYTES: usize = 8 * 1024;
/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 * 1024;
/// A manager that does not answer a line in this time does not answer machines either.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// What the manager is.
    About,
    /// What it would answer to a packet, if that came in now.
    Ask(Packet),
}

/// A DHCP message and how it would come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// One that is served.
    pub interface: String,
    /// 67 or 4011.
    pub port: u16,
    /// Who sends it.
    pub source: SocketAddrV4,
    /// The UDP payload, two hexadecimal digits a byte.
    pub packet: String,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To [`Question::About`].
    About(Box<About>),
    /// To [`Question::Ask`]: what would be sent.
    Replies(Vec<Reply>),
    /// To [`Question::Ask`]: why nothing would be sent.
    Ignored(String),
    /// The question cannot be answered.
    Error(String),
}

/// The manager that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the program.
    pub version: String,
    /// Of the process.
    pub pid: u32,
    /// `proxy`, `full` or `off`.
    pub dhcp: String,
    /// Those that are served.
    pub interfaces: Vec<Served>,
    /// TCP.
    pub http_port: u16,
    /// Where images are kept.
    pub state: PathBuf,
    /// The file it was started with.
    pub config: Option<PathBuf>,
    /// Where it looked for iPXE.
    pub ipxe_dir: PathBuf,
}

/// An interface that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// As `ip link` prints it.
    pub name: String,
    /// The manager's own; of an interface that is away, the one it had.
    pub address: Ipv4Addr,
    /// Of its network.
    pub prefix_len: u8,
    /// Why machines on it are not answered, or not wholly; `None` if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// One packet that would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Where to.
    pub to: SocketAddrV4,
    /// After how long.
    pub delay_ms: u64,
    /// The UDP payload, two hexadecimal digits a byte.
    pub packet: String,
}

/// Asks the manager whose socket is in `folder`.
///
/// # Errors
/// There is none, it may not be asked, or it does not answer.
pub fn ask(folder: &Path, question: &Question) -> anyhow::Result<Answer> {
    let path = folder.join(SOCKET);
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("asking the manager at {}", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).context("reading the manager's answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_as_it_is_documented() {
        let question = Question::Ask(Packet {
            interface: "lan0".to_owned(),
            port: 67,
            source: "0.0.0.0:68".parse().expect("an address"),
            packet: "01".to_owned(),
        });
        let text = r#"{"ask":{"interface":"lan0","port":67,"source":"0.0.0.0:68","packet":"01"}}"#;
        assert_eq!(serde_json::to_string(&question).expect("text"), text);
        assert_eq!(
            serde_json::from_str::<Question>("\"about\"").expect("a question"),
            Question::About
        );
        let answer = Answer::Replies(vec![Reply {
            to: "255.255.255.255:68".parse().expect("an address"),
            delay_ms: 1750,
            packet: "02".to_owned(),
        }]);
        let text = r#"{"replies":[{"to":"255.255.255.255:68","delay_ms":1750,"packet":"02"}]}"#;
        assert_eq!(serde_json::to_string(&answer).expect("text"), text);
    }
}

//! The worker's own name, so that its programs find it (`sudo: unable to resolve host`): a line of /etc/hosts. Pure.
//!
//! It has the worker's address, which is for good, and not Debian's 127.0.1.1: programs of a cluster (MPI, etcd, Hadoop) tell
//! others what their own name leads to. nss-myhostname answers with it, too.

use std::net::Ipv4Addr;

/// What the image has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Present<'a> {
    /// /etc/hosts, if it is there.
    pub hosts: Option<&'a str>,
    /// /etc/nsswitch.conf, if it is there.
    pub nsswitch: Option<&'a str>,
    /// The module that knows a machine's own name is installed (nss-myhostname(8)).
    pub has_myhostname: bool,
}

/// What /etc/hosts is to say where the machine is called `name`, in `domain` if that is known; `None` if it is known
/// already.
#[must_use]
pub fn with_own_name(
    present: Present<'_>,
    (address, name): (Ipv4Addr, &str),
    domain: Option<&str>,
) -> Option<String> {
    let Present {
        hosts,
        nsswitch,
        has_myhostname,
    } = present;
    if has_myhostname && nsswitch.is_some_and(asks_myhostname) {
        return None;
    }
    let hosts = hosts.unwrap_or_default();
    if hosts
        .lines()
        .any(|line| names(line).any(|other| other.eq_ignore_ascii_case(name)))
    {
        return None;
    }
    // A container's is empty.
    let mut text = if hosts.trim().is_empty() {
        "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned()
    } else {
        hosts.to_owned()
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // man hosts(5): the whole name first, then the short one.
    let names = match (name.split_once('.'), domain) {
        (Some((short, _)), _) => format!("{name} {short}"),
        (None, Some(domain)) => format!("{name}.{domain} {name}"),
        (None, None) => name.to_owned(),
    };
    Some(format!("{text}{address}\t{names}\n"))
}

/// The names in a line, without its address.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split('#').next().unwrap_or_default();
    line.split_ascii_whitespace().skip(1)
}

/// man nsswitch.conf(5)
fn asks_myhostname(text: &str) -> bool {
    let hosts = text.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let (database, services) = line.split_once(':')?;
        (database.trim() == "hosts").then_some(services)
    });
    hosts.is_some_and(|services| services.split_ascii_whitespace().any(|s| s == "myhostname"))
}

/// What /etc/hostname says (man hostname(5)).
#[must_use]
pub fn own_name(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const LOCAL: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";

    #[test]
    fn a_name_that_nobody_knows_gets_a_line() {
        let image = "127.0.0.1 localhost\n10.0.0.9 nas # worker-1\n";
        for (hosts, name, domain, want) in [
            (
                None,
                "worker-1",
                None,
                Some(format!("{LOCAL}10.0.0.5\tworker-1\n")),
            ),
            (
                Some("\n"),
                "worker-1",
                None,
                Some(format!("{LOCAL}10.0.0.5\tworker-1\n")),
            ),
            (
                Some(image),
                "worker-1",
                Some("lab"),
                Some(format!("{image}10.0.0.5\tworker-1.lab worker-1\n")),
            ),
            (
                Some(image),
                "a.b.c",
                Some("lab"),
                Some(format!("{image}10.0.0.5\ta.b.c a\n")),
            ),
            // The line of another name stays, and has no end of its own.
            (
                Some("127.0.1.1 builder"),
                "worker-1",
                None,
                Some("127.0.1.1 builder\n10.0.0.5\tworker-1\n".to_owned()),
            ),
            (Some(image), "nas", Some("lab"), None),
            (Some("127.0.1.1 x.lab\tWorker-1\n"), "worker-1", None, None),
            (Some(image), "localhost", None, None),
            // An address is no name.
            (
                Some("127.0.1.1 x\n"),
                "127.0.1.1",
                None,
                Some("127.0.1.1 x\n10.0.0.5\t127.0.1.1 127\n".to_owned()),
            ),
        ] {
            let present = Present {
                hosts,
                ..Present::default()
            };
            let got = with_own_name(present, (ADDRESS, name), domain);
            assert_eq!(got, want, "{hosts:?} {name} {domain:?}");
            // It is known now.
            if let Some(text) = got {
                let again = Present {
                    hosts: Some(&text),
                    ..present
                };
                assert_eq!(with_own_name(again, (ADDRESS, name), domain), None);
            }
        }
    }

    #[test]
    fn where_the_module_is_asked_nothing_is_written() {
        for (nsswitch, has_myhostname, is_written) in [
            (
                Some("passwd: files\nhosts:  files myhostname dns\n"),
                true,
                false,
            ),
            (
                Some("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns"),
                true,
                false,
            ),
            (Some("hosts: files myhostname dns\n"), false, true),
            (Some("hosts: files dns # myhostname\n"), true, true),
            (
                Some("# hosts: myhostname\npasswd: myhostname\n"),
                true,
                true,
            ),
            (None, true, true),
        ] {
            let present = Present {
                hosts: Some(""),
                nsswitch,
                has_myhostname,
            };
            let got = with_own_name(present, (ADDRESS, "worker-1"), None);
            assert_eq!(got.is_some(), is_written, "{present:?}");
        }
    }

    #[test]
    fn host_names_of_images() {
        for (text, want) in [
            ("worker\n", Some("worker")),
            ("\n# by the installer\n  a.b  \nc\n", Some("a.b")),
            ("", None),
        ] {
            assert_eq!(own_name(text), want);
        }
    }
}

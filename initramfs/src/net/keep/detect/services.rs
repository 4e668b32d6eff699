//! Looks for who in the image asks for names and the time, and tells them: see [`resolve`] and [`hosts`].

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, readlinkat, unlinkat};
use rustix::io::Errno;

use super::{News, files, is_enabled, is_file, open, read, starts, write};
use crate::console;
use crate::net::keep::hosts::{self, own_name, with_own_name};
use crate::net::keep::resolve::{self, Listener, ResolvConf, Resolvconf, Services, tell};
use crate::net::keep::{HandoverFile, Manager, TextFile};
use crate::root::worker_files::archive::Entry;

/// Tells all of them; who was told, each once. What went wrong is said on the console.
///
/// `starts` and `keeps`: network managers of the image that start, and those that were told to keep the address.
pub(super) fn inform(
    (root, run): (&File, &Path),
    cmdline: &str,
    news: &News<'_>,
    (starts, keeps): (&[Manager], &[Manager]),
) -> Vec<Listener> {
    let services = services(root, cmdline, news.files);
    let mut files = tell(&services, starts, keeps, news.lease);
    files.extend(own_hosts(root, news).map(|file| (Listener::Hosts, file)));
    let mut told = Vec::new();
    for (who, file) in files {
        match write_over(root, run, &file) {
            Ok(()) if told.contains(&who) => {}
            Ok(()) => told.push(who),
            Err(error) => console::say(&format!("ramboot: telling {who}: {error:#}")),
        }
    }
    told
}

/// What is there, and what of it starts.
pub(super) fn services(root: &File, cmdline: &str, own: &[Entry]) -> Services {
    let runs = |name: &str| {
        let unit = format!("{name}.service");
        let folders = ["usr/lib/systemd", "lib/systemd"];
        let mut programs = folders.iter().map(|folder| format!("{folder}/{name}"));
        programs.any(|path| is_file(root, &path)) && starts(&unit, is_enabled(root, &unit), cmdline)
    };
    let is_any = |paths: &[&str]| paths.iter().any(|path| is_file(root, path));
    let resolvconf = if is_any(&DEBIANS) {
        Some(Resolvconf::Debian)
    } else if is_any(&OPENRESOLVS) {
        Some(Resolvconf::Openresolv)
    } else {
        None
    };
    Services {
        resolv_conf: resolv_conf(root, own),
        resolved: runs("systemd-resolved").then(|| config(root, "resolved")),
        resolvconf,
        timesyncd: runs("systemd-timesyncd").then(|| config(root, "timesyncd")),
        chrony: is_any(&["usr/sbin/chronyd", "usr/bin/chronyd"]),
    }
}

/// man systemd.conf(5), as far as it matters here: all files, in no order.
fn config(root: &File, name: &str) -> Vec<TextFile> {
    let places = ["etc", "usr/local/lib", "usr/lib", "lib"].map(|folder| {
        let path = format!("{folder}/systemd/{name}.conf");
        [format!("{path}.d/"), path]
    });
    let places: Vec<&str> = places.iter().flatten().map(String::as_str).collect();
    let mut files = files(root, &places);
    files.retain(|file| file.path.ends_with(".conf"));
    files
}

fn resolv_conf(root: &File, own: &[Entry]) -> ResolvConf {
    let is_own = |entry: &Entry| {
        [&entry.folder, &entry.name] == [OsStr::new(FOLDER), OsStr::new(RESOLV_CONF)]
    };
    if own.iter().any(is_own) {
        return ResolvConf::Own;
    }
    let link = open(root, FOLDER, OFlags::DIRECTORY)
        .and_then(|folder| readlinkat(folder, RESOLV_CONF, Vec::new()));
    match link {
        Ok(link) => ResolvConf::Link(resolve::target(&link.to_string_lossy())),
        // It is no link.
        Err(Errno::INVAL) => ResolvConf::File,
        Err(_) => ResolvConf::Missing,
    }
}

/// /etc/hosts, if the worker's name has to be put in.
fn own_hosts(root: &File, news: &News<'_>) -> Option<HandoverFile> {
    let image = read(root, "etc/hostname");
    let of_image = || own_name(&image.as_ref()?.text);
    let name = news.hostname.or_else(of_image)?;
    // What no host is called would be read as something else there.
    let name = ramboot_wire::cmdline::hostname(name).ok()?;
    let hosts = read(root, "etc/hosts");
    if hosts.as_ref().is_some_and(|file| !file.whole) {
        return None;
    }
    let nsswitch = read(root, "etc/nsswitch.conf");
    let present = hosts::Present {
        hosts: hosts.as_ref().map(|file| file.text.as_str()),
        nsswitch: nsswitch.as_ref().map(|file| file.text.as_str()),
        has_myhostname: MODULES
            .iter()
            .any(|folder| is_file(root, &format!("{folder}/libnss_myhostname.so.2"))),
    };
    Some(HandoverFile {
        path: "/etc/hosts".to_owned(),
        mode: 0o644,
        content: with_own_name(
            present,
            (news.lease.addr, &name),
            news.lease.domain.as_deref(),
        )?,
    })
}

/// A link that leads to a folder of the machine that built the image (WSL's, a container's) gives way.
fn write_over(root: &File, run: &Path, file: &HandoverFile) -> anyhow::Result<()> {
    let written = write(root, run, file);
    let is_nowhere = |error: &anyhow::Error| {
        error.root_cause().downcast_ref() == Some(&Errno::NOENT)
            && file.path == format!("/{FOLDER}/{RESOLV_CONF}")
    };
    if !written.as_ref().is_err_and(is_nowhere) {
        return written;
    }
    let folder = open(root, FOLDER, OFlags::DIRECTORY)?;
    unlinkat(folder, RESOLV_CONF, AtFlags::empty())?;
    write(root, run, file)
}

const FOLDER: &str = "etc";
const RESOLV_CONF: &str = "resolv.conf";
/// Of Debian's resolvconf; /lib may be a folder of its own.
const DEBIANS: [&str; 2] = [
    "usr/lib/resolvconf/list-records",
    "lib/resolvconf/list-records",
];
/// Of openresolv, in Debian, Fedora and Alpine.
const OPENRESOLVS: [&str; 4] = [
    "usr/lib/resolvconf/libc",
    "lib/resolvconf/libc",
    "usr/libexec/resolvconf/libc",
    "libexec/resolvconf/libc",
];
/// Where glibc has its modules.
const MODULES: [&str; 5] = [
    if cfg!(target_arch = "aarch64") {
        "usr/lib/aarch64-linux-gnu"
    } else {
        "usr/lib/x86_64-linux-gnu"
    },
    "usr/lib64",
    "lib64",
    "usr/lib",
    "lib",
];

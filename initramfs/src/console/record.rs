//! `/run/ramboot/boot.json`: how a boot went, for whoever asks the worker later. README.md has it as a table. Pure.
//!
//! All times are monotonic: a machine without a clock of its own boots in 1970.

use std::net::Ipv4Addr;
use std::time::Duration;

use ramboot_fetch::engine::Counts;
use ramboot_fetch::sources::{self, SourceCounts, Sources};
use ramboot_wire::paths::Resource;
use ramboot_wire::stage::Bar;
use ramboot_wire::{BootArgs, ImageId, Mac, Stage, StageLine};
use serde::Serialize;

use crate::net::lease::Lease;
use crate::net::links::Link;

/// The form of the file. A field more does not change it, a field less or with another meaning does.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// [`VERSION`].
    pub version: u32,
    /// What runs.
    pub image: Image,
    /// `uname -r`, and the architecture as Rust and Linux name it.
    pub kernel: String,
    /// `x86_64`, `aarch64`.
    pub arch: &'static str,
    /// The NIC that carried the boot.
    pub mac: Mac,
    /// Its name while `/init` ran; the image's udev may rename it.
    pub link: &'a str,
    /// The worker's address.
    pub addr: Ipv4Addr,
    /// Bits of its mask.
    pub prefix: u8,
    /// The default route.
    pub router: Option<Ipv4Addr>,
    /// Who gave the address.
    pub dhcp_server: Ipv4Addr,
    /// Everybody the image could come from, in the order of the command line.
    pub bases: Vec<Source>,
    /// Bytes of chunk list and chunks that were received, with those that were wasted.
    pub bytes: u64,
    /// Requests that failed, for the chunk list and for chunks.
    pub retries: u64,
    /// Chunks and chunk lists that came whole and wrong.
    pub bad: u64,
    /// How large the writable layer may grow, in bytes.
    pub overlay_bytes: u64,
    /// The image's init.
    pub init: &'a str,
    /// `full`, or `stream`: then the init started before all of the image was there.
    pub mode: &'static str,
    /// What starts all of it anew.
    pub kexec: Kexec<'a>,
    /// The stages in order.
    pub stages: Vec<Ended>,
    /// When each stage, and what went on beside them, was done.
    pub waterfall: Vec<Bar>,
    /// The same as said on the console.
    pub lines: Vec<&'a StageLine>,
}

/// The image.
#[derive(Debug, Serialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its bytes.
    pub size: u64,
}

/// What kexec(8) wants to be given.
#[derive(Debug, Serialize)]
pub struct Kexec<'a> {
    /// Where the kernel is; `None` if the command line does not say.
    pub kernel: Option<String>,
    /// Where the initramfs is, likewise.
    pub initrd: Option<String>,
    /// The kernel's command line of this boot.
    pub cmdline: &'a str,
}

/// What one base gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// `http://10.0.0.1:8067`
    pub base: String,
    /// Bytes of bodies received from it.
    pub bytes: u64,
    /// Requests to it that failed.
    pub failures: u64,
    /// What it sent whole and wrong: it lied.
    pub bad: u64,
    /// How often it served others first.
    pub busy: u64,
}

/// When a stage ended.
#[derive(Debug, Serialize)]
pub struct Ended {
    /// Which.
    pub stage: Stage,
    /// Milliseconds it took.
    pub ms: u64,
    /// Milliseconds from the start of the kernel to its end (`CLOCK_BOOTTIME`).
    pub since_kernel_ms: u64,
}

/// What only the end of a boot knows.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// `uname -r`.
    pub kernel: String,
    /// The link and what it was given.
    pub link: &'a Link,
    /// The address.
    pub lease: &'a Lease,
    /// What came from whom.
    pub sources: &'a Sources,
    /// Bytes of the writable layer.
    pub overlay_bytes: u64,
    /// The image's init.
    pub init: &'a str,
    /// `full` or `stream`.
    pub mode: &'static str,
    /// The kernel's command line.
    pub cmdline: &'a str,
}

impl<'a> Record<'a> {
    /// Puts it together. `lines`: the stages that ended, with the time since the kernel's start.
    #[must_use]
    pub fn new(
        args: &BootArgs,
        outcome: Outcome<'a>,
        lines: &'a [(StageLine, Duration)],
        waterfall: Vec<Bar>,
    ) -> Self {
        let Outcome {
            kernel,
            link,
            lease,
            sources,
            overlay_bytes,
            init,
            mode,
            cmdline,
        } = outcome;
        let counts = Counts::of(sources);
        Self {
            version: VERSION,
            image: Image {
                id: args.image,
                size: args.size,
            },
            kernel,
            arch: std::env::consts::ARCH,
            mac: link.mac,
            link: &link.name,
            addr: lease.addr,
            prefix: lease.prefix,
            router: lease.router(),
            dhcp_server: lease.server,
            bases: sources.all().iter().map(Source::of).collect(),
            bytes: counts.bytes,
            retries: counts.retries,
            bad: counts.bad,
            overlay_bytes,
            init,
            mode,
            kexec: Kexec::of(args, sources, cmdline),
            stages: lines
                .iter()
                .map(|(line, at)| Ended {
                    stage: line.stage,
                    ms: line.ms,
                    since_kernel_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
                })
                .collect(),
            waterfall,
            lines: lines.iter().map(|(line, _)| line).collect(),
        }
    }
}

impl<'a> Kexec<'a> {
    /// At the base that most of the image came from.
    fn of(args: &BootArgs, sources: &Sources, cmdline: &'a str) -> Self {
        // Of equals the first.
        let sources = sources.all().iter().rev();
        let best = sources.max_by_key(|source| source.counts.bytes);
        let url = |name: &str| {
            let path = Resource::Boot(args.image, name.to_owned()).path();
            best.map(|source| format!("{}{path}", source.base))
        };
        let boot = args.boot.as_ref();
        Self {
            kernel: boot.and_then(|boot| url(&boot.kernel)),
            initrd: boot.and_then(|boot| url(&boot.initrd)),
            cmdline: cmdline.trim_end(),
        }
    }
}

impl Source {
    fn of(source: &sources::Source) -> Self {
        let SourceCounts {
            bytes,
            failures,
            bad,
            busy,
        } = source.counts;
        Self {
            base: source.base.to_string(),
            bytes,
            failures,
            bad,
            busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use ramboot_fetch::fault::Why;
    use ramboot_wire::image::BadChunk;

    #[test]
    fn the_file_is_an_interface() {
        let id = ImageId([7; 32]);
        let args = BootArgs::parse(&format!(
            "ramboot.image={id} ramboot.size=139000000 ramboot.url=http://10.0.0.1:8067,http://10.0.0.2 \
             ramboot.boot=vmlinuz-01,initrd-23"
        ))
        .expect("parses");
        let link = Link {
            name: "eth0".to_owned(),
            index: 2,
            mac: Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]),
            carrier: true,
        };
        let lease = Lease {
            addr: [10, 0, 0, 58].into(),
            prefix: 24,
            routes: Vec::new(),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
            search: Vec::new(),
            mtu: None,
            server: [10, 0, 0, 1].into(),
        };
        let mut sources = Sources::new(&args.bases, Duration::ZERO, Duration::ZERO);
        let first = sources.begin(0, clock::now());
        sources.received(first, 139_000_000);
        let second = sources.begin(1, clock::now());
        sources.received(second, 262_144);
        let lie = BadChunk::NoSuchChunk { index: 7, count: 7 };
        sources.failed(second, Why::of(&lie), clock::now(), 0);
        let line = StageLine {
            stage: Stage::Mount,
            error: None,
            facts: vec![("init".to_owned(), "/sbin/init".to_owned())],
            ms: 190,
        };
        let lines = [(line, Duration::from_micros(9_123_456))];
        let outcome = Outcome {
            kernel: "6.1.0-56-amd64".to_owned(),
            link: &link,
            lease: &lease,
            sources: &sources,
            overlay_bytes: 338_718_700,
            init: "/sbin/init",
            mode: "full",
            cmdline: "ramboot.size=139000000 console=ttyS0\n",
        };
        let room = Bar {
            what: "room".to_owned(),
            begin_ms: 29,
            end_ms: 340,
        };
        let mut record = Record::new(&args, outcome, &lines, vec![room]);
        record.arch = "x86_64";
        let want = format!(
            r#"{{
  "version": 1,
  "image": {{
    "id": "{id}",
    "size": 139000000
  }},
  "kernel": "6.1.0-56-amd64",
  "arch": "x86_64",
  "mac": "52:54:00:12:34:56",
  "link": "eth0",
  "addr": "10.0.0.58",
  "prefix": 24,
  "router": null,
  "dhcp_server": "10.0.0.1",
  "bases": [
    {{
      "base": "http://10.0.0.1:8067",
      "bytes": 139000000,
      "failures": 0,
      "bad": 0,
      "busy": 0
    }},
    {{
      "base": "http://10.0.0.2",
      "bytes": 262144,
      "failures": 1,
      "bad": 1,
      "busy": 0
    }}
  ],
  "bytes": 139262144,
  "retries": 1,
  "bad": 1,
  "overlay_bytes": 338718700,
  "init": "/sbin/init",
  "mode": "full",
  "kexec": {{
    "kernel": "http://10.0.0.1:8067/images/{id}/boot/vmlinuz-01",
    "initrd": "http://10.0.0.1:8067/images/{id}/boot/initrd-23",
    "cmdline": "ramboot.size=139000000 console=ttyS0"
  }},
  "stages": [
    {{
      "stage": "mount",
      "ms": 190,
      "since_kernel_ms": 9123
    }}
  ],
  "waterfall": [
    {{
      "what": "room",
      "begin_ms": 29,
      "end_ms": 340
    }}
  ],
  "lines": [
    {{
      "stage": "mount",
      "facts": [
        [
          "init",
          "/sbin/init"
        ]
      ],
      "ms": 190
    }}
  ]
}}"#
        );
        assert_eq!(serde_json::to_string_pretty(&record).expect("json"), want);
    }
}

use std::fs;
use std::sync::Arc;

use ramboot_wire::{ImageId, Uuid};
use tempfile::TempDir;

use super::*;
use crate::boot::ipxe_binaries::Roms;
use crate::boot::uki::tests::{kernel, sections, stub_file};
use crate::boot::worker_files::WorkerFiles;
use crate::config::Config;
use crate::fleet::shared::SharedFleet;
use crate::store::commit::Staging;
use crate::store::{ImageFacts, Store};

/// A store with these images, and iPXE for these architectures.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(ipxe: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("temp folder");
        for (name, content) in ipxe {
            fs::write(folder.path().join(name), content).expect("written");
        }
        Self { folder }
    }

    fn publish(&self, name: &str, arch: Arch, with_stub: bool) {
        let staging = Staging::begin(&self.folder.path().join("state")).expect("begun");
        let image = format!("image {name}");
        let mut file = staging.create_image().expect("made");
        std::io::Write::write_all(&mut file, image.as_bytes()).expect("written");
        let (id, size) = (
            ImageId(*blake3::hash(image.as_bytes()).as_bytes()),
            image.len() as u64,
        );
        let add = |kind, content: &[u8]| staging.add_boot(kind, content).expect("added");
        let generation = Generation {
            number: 0,
            image: id,
            size,
            kernel: add("vmlinuz", &kernel(arch)),
            initrd: add("initrd", b"initramfs"),
            stub: with_stub.then(|| add("stub", &stub_file(arch))),
            kernel_version: "6.1.0".to_owned(),
            arch,
            published: 0,
            note: String::new(),
            pi: None,
            forced: Vec::new(),
        };
        let facts = ImageFacts {
            id,
            size,
            compressor: "zstd".to_owned(),
            block_size: 131_072,
            kernel_version: "6.1.0".to_owned(),
            arch,
            forced: Vec::new(),
        };
        let name = name.parse().expect("a name");
        staging
            .commit(&facts, &[], &name, &generation)
            .expect("committed");
    }

    fn planner(&self) -> Planner {
        Planner {
            store: Arc::new(Store::open(self.folder.path().join("state")).expect("opens")),
            config: Arc::new(Config::default()),
            roms: Arc::new(Roms::read(self.folder.path())),
            worker_files: Arc::new(
                WorkerFiles::open(&self.folder.path().join("state")).expect("a secret"),
            ),
            fleet: Arc::new(SharedFleet::new(Box::new(drop))),
        }
    }
}

fn client(arch: Option<Arch>) -> Client {
    Client {
        mac: "52:54:00:12:34:56".parse().expect("a MAC"),
        arch,
        uuid: Some(Uuid([7; 16])),
    }
}

fn base() -> Base {
    "http://10.0.0.1:8067".parse().expect("a base")
}

/// `uki`, or what stands in iPXE's place, or `-`.
fn kind(program: Option<Rope>) -> String {
    let bytes = program.map(|parts| parts.slices().concat());
    match bytes {
        None => "-".to_owned(),
        Some(bytes) if bytes.starts_with(b"MZ") => "uki".to_owned(),
        Some(bytes) => String::from_utf8(bytes).expect("as written"),
    }
}

#[test]
fn http_prefers_the_kernel_and_tftp_the_smaller_file() {
    let (x86, arm) = (Some(Arch::X86_64), Some(Arch::Aarch64));
    let both = &[("snponly.efi", "x86"), ("ipxe-arm64.efi", "arm")][..];
    // iPXE that there is; the image's arch and whether it has a stub; the machine's arch; by HTTP and by TFTP.
    for (ipxe, image, machine, http, tftp) in [
        (both, Some((Arch::X86_64, true)), x86, "uki", "x86"),
        (both, Some((Arch::X86_64, true)), None, "uki", "x86"),
        (both, Some((Arch::X86_64, true)), arm, "arm", "arm"),
        (both, Some((Arch::X86_64, false)), x86, "x86", "x86"),
        (both, Some((Arch::Aarch64, true)), arm, "uki", "arm"),
        (both, Some((Arch::Aarch64, true)), None, "uki", "arm"),
        (both, Some((Arch::Aarch64, true)), x86, "x86", "x86"),
        (both, None, arm, "arm", "arm"),
        (both, None, None, "x86", "x86"),
        (&both[..1], Some((Arch::Aarch64, true)), arm, "uki", "uki"),
        (&both[..1], Some((Arch::Aarch64, false)), arm, "-", "-"),
        (&[], Some((Arch::X86_64, true)), x86, "uki", "uki"),
        (&[], Some((Arch::X86_64, true)), arm, "-", "-"),
        (&[], None, x86, "-", "-"),
    ] {
        let bench = Bench::new(ipxe);
        if let Some((arch, with_stub)) = image {
            bench.publish("worker", arch, with_stub);
        }
        let planner = bench.planner();
        let said = format!("{ipxe:?} {image:?} {machine:?}");
        let asked = |via| {
            let program = planner.efi(&client(machine), &base(), via);
            let part = program.as_ref().map(Program::part);
            let kind = kind(program.map(Program::into_bytes));
            let want = match kind.as_str() {
                "-" => None,
                "uki" => Some(Part::Uki),
                _ => Some(Part::Loader),
            };
            assert_eq!(part, want, "{kind}: {said}");
            kind
        };
        assert_eq!(asked(Via::Http), http, "HTTP: {said}");
        assert_eq!(asked(Via::Tftp), tftp, "TFTP: {said}");
    }
}

#[test]
fn each_machine_gets_its_own_command_line_and_all_the_same_kernel() {
    let bench = Bench::new(&[]);
    bench.publish("worker", Arch::X86_64, true);
    let planner = bench.planner();
    let made: Vec<Rope> = [1, 2]
        .map(|last| Client {
            mac: ramboot_wire::Mac([2, 0, 0, 0, 0, last]),
            ..client(Some(Arch::X86_64))
        })
        .iter()
        .filter_map(|client| planner.efi(client, &base(), Via::Http))
        .map(Program::into_bytes)
        .collect();
    for (uki, last) in made.iter().zip(["01", "02"]) {
        let bytes = uki.slices().concat();
        let found = sections(&bytes);
        let section = found.iter().find(|section| section.0 == ".cmdline");
        let (_, _, len, offset, _) = section.expect("there");
        let from = usize::try_from(*offset).expect("small");
        let cmdline = &bytes[from..from + usize::try_from(*len).expect("small")];
        let cmdline = std::str::from_utf8(cmdline).expect("text");
        let args = ramboot_wire::BootArgs::parse(cmdline).expect("what /init reads");
        assert_eq!(args.bases, [base()]);
        assert!(
            cmdline.ends_with(&format!("BOOTIF=01-02-00-00-00-00-{last}")),
            "{cmdline}"
        );
    }
    let kernel = kernel(Arch::X86_64);
    let addresses = made.iter().map(|uki| {
        let slices = uki.slices();
        let slice = slices.iter().find(|slice| **slice == kernel);
        slice.map(|slice| slice.as_ptr()).expect("the kernel")
    });
    let addresses: Vec<_> = addresses.collect();
    assert_eq!(addresses[0], addresses[1], "one mapping for all");
}

/// A kernel that somebody shortens: an error where a block is read, and no program at all for who asks then.
#[test]
fn a_damaged_kernel_is_an_error_and_no_signal() {
    let bench = Bench::new(&[]);
    bench.publish("worker", Arch::X86_64, true);
    let planner = bench.planner();
    let client = client(Some(Arch::X86_64));
    let uki = planner.efi(&client, &base(), Via::Http);
    let uki = uki.expect("a program").into_bytes();
    let mut all = vec![0; usize::try_from(uki.len()).expect("small")];
    assert_eq!(uki.read_at(0, &mut all).expect("read"), all.len());
    assert!(all == uki.slices().concat());
    let generation = planner.store.current(&"worker".parse().expect("a name"));
    let generation = generation.expect("read").expect("published");
    let state = bench.folder.path().join("state/images");
    let boot = state.join(generation.image.to_string()).join("boot");
    let kernel = fs::OpenOptions::new()
        .write(true)
        .open(boot.join(&generation.kernel.name));
    kernel.and_then(|file| file.set_len(9)).expect("shortened");
    assert_eq!(uki.read_now(0, &mut all), None);
    let error = uki.read_at(0, &mut all).expect_err("shortened");
    assert!(
        error.to_string().contains(&generation.kernel.name),
        "{error}"
    );
    assert_eq!(planner.efi(&client, &base(), Via::Tftp), None);
    // What was read before is still right: headers, command line, stub.
    assert_eq!(uki.read_at(0, &mut all[..512]).expect("headers"), 512);
}

#[test]
fn tftp_knows_these_names_and_no_others() {
    let bench = Bench::new(&[("undionly.kpxe", "bios"), ("snponly.efi", "x86")]);
    let planner = bench.planner();
    let ask = |name: &str| planner.tftp(name, &base()).map(|parts| kind(Some(parts)));
    let client = client(Some(Arch::X86_64)).to_string();
    let script = format!("chain --replace --autofree http://10.0.0.1:8067/ipxe/{client} ||");
    for (name, want) in [
        ("undionly.kpxe".to_owned(), "bios"),
        ("snponly.efi".to_owned(), "x86"),
        (format!("efi/{client}/boot.efi"), "x86"),
        (format!("efi/{client}/autoexec.ipxe"), script.as_str()),
        (
            "autoexec.ipxe".to_owned(),
            "/ipxe/${netX/mac:hexhyp}.${arch} ||",
        ),
    ] {
        let found = ask(&name).expect(&name);
        assert!(found.contains(want), "{name}: {found}");
    }
    for name in [
        "",
        "/undionly.kpxe",
        "efi/autoexec.ipxe",
        "efi//autoexec.ipxe",
        "efi/x/boot.efi",
        "ipxe/autoexec.ipxe",
        "report",
        "efi/../autoexec.ipxe",
        &format!("efi/{client}/boot.efi/autoexec.ipxe"),
        &format!("efi/{client}/"),
        &format!("ipxe/{client}"),
        &format!("x/efi/{client}/boot.efi"),
    ] {
        assert_eq!(ask(name), None, "{name}");
    }
}

#[test]
fn a_damaged_stub_does_not_keep_a_machine_from_booting() {
    let bench = Bench::new(&[("snponly.efi", "x86")]);
    bench.publish("worker", Arch::X86_64, true);
    let planner = bench.planner();
    let client = client(Some(Arch::X86_64));
    let choice = planner.choose(&client, &base()).expect("chosen");
    let stub = choice.generation.stub.expect("there").name;
    let images = bench.folder.path().join("state/images");
    let path = images
        .join(choice.args.image.to_string())
        .join("boot")
        .join(stub);
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "no stub").expect("written");
    let program = planner.efi(&client, &base(), Via::Http);
    assert_eq!(kind(program.map(Program::into_bytes)), "x86");
}

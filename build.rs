//! Builds `/init` for every architecture whose Rust target is installed, so that one `ramboot` file, copied alone to
//! another machine, can publish for all of them.
//!
//! `RAMBOOT_INIT_X86_64` and `RAMBOOT_INIT_AARCH64` name ready-made files instead (for packagers).
#![allow(
    clippy::disallowed_methods,
    reason = "a build script is told everything by the environment"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Architecture as the kernel names it, the Rust target, and the variable that names a ready-made file.
const INITS: [(&str, &str, &str); 2] = [
    ("x86_64", "x86_64-unknown-linux-musl", "RAMBOOT_INIT_X86_64"),
    (
        "aarch64",
        "aarch64-unknown-linux-musl",
        "RAMBOOT_INIT_AARCH64",
    ),
];

fn main() {
    for part in ["crates/fetch", "crates/wire", "initramfs"] {
        println!("cargo::rerun-if-changed={part}");
    }
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut found = 0;
    for (arch, target, variable) in INITS {
        println!("cargo::rerun-if-env-changed={variable}");
        let to = out.join(format!("init-{arch}"));
        let bytes = match env::var_os(variable) {
            Some(path) => fs::read(&path)
                .unwrap_or_else(|e| panic!("{variable}={}: {e}", Path::new(&path).display())),
            None if has_target(target) => build(&out, target),
            None => {
                println!("cargo::warning=no /init for {arch}: rustup target add {target}");
                Vec::new()
            }
        };
        found += usize::from(!bytes.is_empty());
        fs::write(to, bytes).expect("writing into OUT_DIR");
    }
    assert!(
        found > 0,
        "no Rust target to build /init with: rustup target add x86_64-unknown-linux-musl"
    );
}

fn has_target(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let libdir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output();
    libdir.is_ok_and(|out| Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_dir())
}

/// A build of its own: other profile, other target, and none of the manager's features.
fn build(out: &Path, target: &str) -> Vec<u8> {
    // One folder for all profiles of the manager, beside them: <target>/<profile>/build/<package>/out.
    let target_dir = out
        .ancestors()
        .nth(4)
        .expect("OUT_DIR lies four folders deep")
        .join("init-build");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "ramboot-init",
            "--profile",
            "init",
            "--target",
            target,
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        // The self-contained musl start files that rustup brings need no C compiler for the target, only a linker.
        .env(
            format!(
                "CARGO_TARGET_{}_LINKER",
                target.to_uppercase().replace('-', "_")
            ),
            "rust-lld",
        )
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    // Clippy and rustdoc put themselves in the compiler's place; /init is compiled, whoever asks.
    for variable in ["RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "CLIPPY_ARGS"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().expect("running cargo");
    assert!(status.success(), "building /init for {target}: {status}");
    let file = target_dir.join(target).join("init/ramboot-init");
    fs::read(&file).unwrap_or_else(|e| panic!("reading {}: {e}", file.display()))
}

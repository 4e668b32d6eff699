//! PID 1 of a worker: boots, and if that fails says so and does what the command line says.

use std::ffi::OsString;
use std::process::ExitCode;

use ramboot_init::{boot, console, last};

fn main() -> ExitCode {
    if !rustix::process::getpid().is_init() {
        eprintln!(
            "ramboot-init is the first process of a netbooted worker (/init in its initramfs); it does nothing else"
        );
        return ExitCode::from(2);
    }
    last::hook_panics();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match boot::boot(&args) {
        Ok(never) => match never {},
        Err(error) => {
            console::stop(&error);
            last::stop(&format!("ramboot: boot stopped: {error:#}"))
        }
    }
}

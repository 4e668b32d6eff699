//! PID 1 of a worker: boots, and if that fails says so and does what the command line says. Started once more by itself, it
//! is what stays and sends heartbeats, what streams the image to a root that runs already, or what mounts with init's rights.

use std::ffi::OsString;
use std::process::ExitCode;

use ramboot_init::agent::{heartbeat, stream};
use ramboot_init::root::selinux;
use ramboot_init::{boot, console, fatal};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if !rustix::process::getpid().is_init() {
        if let Some(orders) = heartbeat::called(&args) {
            return heartbeat::run(&orders);
        }
        if let Some(args) = selinux::called(&args) {
            return selinux::run(&args);
        }
        if stream::called(&args) {
            return stream::process::run();
        }
        eprintln!(
            "ramboot-init is the first process of a netbooted worker (/init in its initramfs); it does nothing else"
        );
        return ExitCode::from(2);
    }
    fatal::hook_panics();
    match boot::boot(args.get(1..).unwrap_or_default()) {
        Ok(never) => match never {},
        Err(error) => {
            console::stop(&error);
            fatal::stop(&format!("ramboot: boot stopped: {error:#}"))
        }
    }
}

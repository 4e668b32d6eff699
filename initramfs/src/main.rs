//! PID 1 of a worker.

fn main() {
    println!("ramboot-init");
}

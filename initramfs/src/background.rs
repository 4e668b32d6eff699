//! Work beside the stages, on a thread of its own, for what waits for nobody: while a switch and a DHCP server make up
//! their minds, two processors have nothing to do.
//!
//! What is done here is only done sooner. A boot goes the same way if no thread can be had.

use std::thread::{self, JoinHandle};

use ramboot_wire::stage::Bar;

use crate::clock::Watch;

/// Some work that was begun.
#[derive(Debug)]
pub struct Background<T> {
    thread: JoinHandle<(T, Bar)>,
}

impl<T: Send + 'static> Background<T> {
    /// Begins `work`; `None` if there is no thread for it. `name` is its name in the waterfall.
    #[must_use]
    pub fn begin(
        name: &'static str,
        watch: Watch,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Self> {
        let timed = move || {
            let begin = watch.ms();
            let value = work();
            (value, watch.bar(name, begin))
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(timed);
        thread.ok().map(|thread| Self { thread })
    }

    /// Waits for its end.
    #[must_use]
    pub fn end(self) -> Option<(T, Bar)> {
        // A thread that panics stops the boot by itself (`fatal::hook_panics`).
        self.thread.join().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_its_value_and_when_it_was_at_work() {
        let watch = Watch::start();
        let background = Background::begin("sum", watch, || 1 + 2).expect("a thread");
        let (value, bar) = background.end().expect("no panic");
        assert_eq!((value, bar.what.as_str()), (3, "sum"));
        assert!(bar.begin_ms <= bar.end_ms && bar.end_ms <= watch.ms());
    }
}

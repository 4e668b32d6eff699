//! What waits for a disk, or takes a processor for long, is done aside: on threads that serve nobody, and few at a time.
//!
//! A thread that serves has thousands of sockets. While it reads a folder it answers none of them, and DHCP may be among
//! those. How many are read or made at once is bounded, so that the threads that serve get their share of the processors.

use std::cell::Cell;
use std::sync::LazyLock;

use anyhow::Context as _;
use tokio::sync::Semaphore;

/// Reads a few small files.
///
/// # Errors
/// It panicked, or the manager ends.
pub async fn read<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    run(&READERS, job).await
}

/// Makes what is made for one machine: folders are read, templates filled in, bytes hashed.
///
/// # Errors
/// It panicked, or the manager ends.
pub async fn make<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    run(&MAKERS, job).await
}

async fn run<T: Send + 'static>(
    turns: &'static Semaphore,
    job: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let turn = turns.acquire().await.context("taking turns")?;
    // Who waits for it may be gone before it ends; its turn ends with it.
    let job = move || {
        let _turn = turn;
        job()
    };
    tokio::task::spawn_blocking(job)
        .await
        .context("working aside")
}

/// Marks a thread that serves. For the runtime to call when a thread of it wakes up: only those that run tasks are told, and
/// those that work aside, which it names alike, are not.
pub fn this_thread_serves() {
    SERVES.set(true);
}

/// To be called by whatever waits for a disk: in a debug build it is an error on a thread that serves.
#[track_caller]
pub fn here_is_waited() {
    debug_assert!(
        !SERVES.get(),
        "a thread that serves waits for a disk: this has to be done aside"
    );
}

thread_local! {
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// More would only wait for the same disk.
static READERS: Semaphore = Semaphore::const_new(16);
/// Half of the processors; two at least, so that one that is slow does not hold up all.
static MAKERS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((processors / 2).max(2))
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// One thread serves: it goes on while a job waits, and a job whose owner has left keeps its turn until it ends.
    #[tokio::test]
    async fn who_serves_goes_on() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        let (go, wait) = mpsc::channel::<()>();
        let job = tokio::spawn(run(&TURNS, move || wait.recv()));
        while TURNS.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        job.abort();
        assert!(job.await.is_err(), "given up");
        let next = tokio::spawn(run(&TURNS, || 7));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!next.is_finished(), "the job goes on");
        go.send(()).expect("it waits");
        assert_eq!(next.await.expect("ends").expect("done"), 7);
    }

    #[test]
    fn who_serves_may_not_wait_for_a_disk() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .on_thread_unpark(this_thread_serves)
            .build()
            .expect("a runtime");
        let serves = runtime.spawn(async {
            // It is marked when it first wakes up.
            while !SERVES.get() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            read(here_is_waited).await.expect("aside it may");
            here_is_waited();
        });
        let ended = runtime.block_on(serves);
        assert_eq!(ended.is_err(), cfg!(debug_assertions));
        runtime.block_on(async { here_is_waited() });
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let failed: anyhow::Result<()> = read(|| panic!("as it is tested")).await;
        let error = failed.expect_err("it panicked");
        assert!(format!("{error:#}").starts_with("working aside: "));
    }
}

//! strace(1): what a program does to the files below a folder, and the same with one of those calls going wrong.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Calls that change files or the order in which they reach the disk. '?': not every architecture has it.
const CALLS: &str = "openat,?open,?creat,write,writev,pwrite64,pwritev,copy_file_range,sendfile,ftruncate,fallocate,\
    fsync,fdatasync,?mkdir,mkdirat,?chmod,fchmod,fchmodat,?rename,?renameat,renameat2,?link,linkat,?symlink,symlinkat,\
    ?unlink,unlinkat,?rmdir,flock";

/// What happens to a call, instead of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL: the program does not live to see it.
    Kill,
    NoSpace,
    Io,
}

impl Fault {
    fn inject(self) -> &'static str {
        match self {
            Self::Kill => "signal=SIGKILL",
            Self::NoSpace => "error=ENOSPC",
            Self::Io => "error=EIO",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thread {
    Main,
    Other,
}

impl Thread {
    pub(crate) fn is_main(self) -> bool {
        self == Self::Main
    }
}

/// One call by which the program changes the folder.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The call and its paths, without what is another one each time.
    pub(crate) what: String,
    pub(crate) thread: Thread,
    call: String,
    /// How many calls of this name its thread had made, with it.
    number: usize,
    /// The kernel said no, as it does to a rename that must not replace anything.
    pub(crate) refused: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}th {})", self.what, self.number, self.call)
    }
}

impl Step {
    /// Whether the same fault meets the line that tells of it: the first write(2) of the main thread, to stderr.
    pub(crate) fn takes_the_words(&self) -> bool {
        !self.thread.is_main() && self.call == "write" && self.number == 1
    }

    /// What a disk may answer to it.
    pub(crate) fn errors(&self) -> &'static [Fault] {
        match self.call.as_str() {
            "write" => &[Fault::NoSpace, Fault::Io],
            "openat" | "mkdir" | "mkdirat" | "link" | "linkat" => &[Fault::NoSpace],
            call if call.starts_with("rename") => &[Fault::NoSpace],
            _ => &[Fault::Io],
        }
    }
}

/// How a program under strace came to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) killed: bool,
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

/// Runs a program under an umask that lets nobody in, with its calls in the file `log`.
fn run(program: &[PathBuf], log: &Path, options: &[&str]) -> Ended {
    let output = Command::new("sh")
        .args(["-euc", "umask 077; exec strace \"$@\"", "sh"])
        .args([
            "--decode-fds=path",
            "--quiet=attach,personality",
            "--output",
        ])
        .arg(log)
        .args(options)
        .args(program)
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !stderr.contains("strace: ") && output.status.code() != Some(127),
        "strace(1) is wanted here, and to be allowed to trace its own children (tests/setup.sh installs it; see \
         /proc/sys/kernel/yama/ptrace_scope): {stderr}"
    );
    Ended {
        killed: output.status.signal() == Some(9),
        code: output.status.code(),
        stderr,
    }
}

/// Runs a program that must succeed and says how it changed `folder`.
pub(crate) fn record(program: &[PathBuf], folder: &Path) -> Vec<Step> {
    let log = log_beside(folder);
    let trace = format!("trace={CALLS}");
    let ended = run(program, &log, &["--follow-forks", "-e", &trace]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    steps(
        &fs::read_to_string(&log).expect("written by strace"),
        folder,
    )
}

/// Runs a program with one of its steps going wrong.
///
/// strace counts the calls of each thread, and faults whichever comes first. So others than the main thread are looked at
/// only for their own steps; there, the number may be reached by the main thread, which is as good a step.
pub(crate) fn inject(program: &[PathBuf], folder: &Path, step: &Step, fault: Fault) -> Ended {
    let log = log_beside(folder);
    let inject = format!(
        "inject={}:{}:when={}",
        step.call,
        fault.inject(),
        step.number
    );
    let trace = format!("trace={}", step.call);
    let mut options = vec!["-e", &trace, "-e", &inject];
    if !step.thread.is_main() {
        options.insert(0, "--follow-forks");
    }
    let ended = run(program, &log, &options);
    let calls = fs::read_to_string(&log).expect("written by strace");
    let hit = match fault {
        Fault::Kill => calls.contains("+++ killed by SIGKILL"),
        Fault::NoSpace | Fault::Io => calls.contains("(INJECTED)"),
    };
    assert!(hit, "{step} did not come: {calls}");
    ended
}

fn log_beside(folder: &Path) -> PathBuf {
    folder.with_extension("strace")
}

/// Reads lines such as `4711 fsync(6</state/tmp>) = 0`.
fn steps(log: &str, folder: &Path) -> Vec<Step> {
    let folder = folder.to_str().expect("UTF-8");
    let main = log.split_whitespace().next().expect("a first call");
    let mut numbers: HashMap<(&str, &str), usize> = HashMap::new();
    let mut steps = Vec::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, arguments)) = call.trim_start().split_once('(') else {
            continue;
        };
        // "<... write resumed>" is the end of a call that was counted; "+++ exited" is none.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let number = numbers.entry((thread, name)).or_default();
        *number += 1;
        let changes = name != "openat" || arguments.contains("O_CREAT");
        if let Some(paths) = paths(arguments, folder)
            && changes
        {
            steps.push(Step {
                what: format!("{name} {paths}"),
                thread: if thread == main {
                    Thread::Main
                } else {
                    Thread::Other
                },
                call: name.to_owned(),
                number: *number,
                refused: line.contains(") = -1 E"),
            });
        }
    }
    steps
}

/// The paths below `folder` among a call's arguments, with digests and random names as `*`.
fn paths(arguments: &str, folder: &str) -> Option<String> {
    let inner = arguments
        .split(['"', '<', '>'])
        .filter_map(|word| word.strip_prefix(folder));
    let plain = |path: &str| {
        let parts = path.split('/').map(|part| {
            if part.starts_with(".tmp") {
                return "*".to_owned();
            }
            let words = part.split('-').map(|word| {
                let digest = word.len() >= 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
                if digest { "*" } else { word }
            });
            words.collect::<Vec<_>>().join("-")
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let paths: Vec<String> = inner.map(plain).collect();
    (!paths.is_empty()).then(|| paths.join(" "))
}

#[test]
fn a_log_is_read() {
    let log = "7 openat(AT_FDCWD</x>, \"/lib/libc.so\", O_RDONLY) = 3</lib/libc.so>\n\
        7 openat(AT_FDCWD</x>, \"/s/tmp/.tmpAb/image/image.sqfs\", O_WRONLY|O_CREAT|O_EXCL, 0444) = 4\n\
        8 write(4</s/tmp/.tmpAb/image/image.sqfs>, \"hsqs\", 4 <unfinished ...>\n\
        7 write(2</dev/null>, \"x\", 1) = 1\n\
        8 <... write resumed>) = 4\n\
        7 write(5</s/cache/modules-0123456789abcdef0123>, \"x\", 1) = 1\n\
        7 +++ exited with 0 +++\n";
    let said: Vec<String> = steps(log, Path::new("/s"))
        .iter()
        .map(Step::to_string)
        .collect();
    let want = [
        "openat /tmp/*/image/image.sqfs (2th openat)",
        "write /tmp/*/image/image.sqfs (1th write)",
        "write /cache/modules-* (2th write)",
    ];
    assert_eq!(said, want);
}

//! Runs one page: a root folder of its own with this machine's programs and an empty /etc, /var and /home, a network of its own
//! with one interface, and the files that pages take for granted. Nothing of it is seen outside, and all of it ends with it.
//!
//! It is a machine where ramboot was installed a moment ago. `sudo` is nothing, since the page's user is root there; `systemctl`
//! does with ramboot what packaging/ramboot.service says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::page::{Mark, Page, Step};
use crate::{project, shown, small_image};

/// What a page says, run in its order.
///
/// # Errors
/// What went wrong first, with its place and what was printed.
pub(crate) fn run(page: &Page) -> Result<(), String> {
    if page.steps.is_empty() {
        return Ok(());
    }
    let folder = tempfile::tempdir().expect("folder");
    let (script, checks) = script(page);
    fs::create_dir(folder.path().join("root")).expect("folder");
    let shared = folder.path().join("shared");
    sources(&shared.join("home"));
    fs::write(shared.join("page.sh"), script).expect("written");
    for name in ["service", "toml", "default"] {
        let from = project(&format!("packaging/ramboot.{name}"));
        fs::copy(from, shared.join(name)).expect("copied");
    }
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", "unshare"])
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .args(["bash", "-euc", ROOT, "bash"])
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_ramboot"))
        .arg(&page.network)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/home/you")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("unshare");
    if !output.status.success() {
        return Err(format!(
            "docs/{}: {}{}\nthe manager's log:\n{}",
            page.name,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            fs::read_to_string(shared.join("log")).unwrap_or_default(),
        ));
    }
    for Check { line, want, file } in checks {
        let said = fs::read_to_string(shared.join(&file)).unwrap_or_default();
        if !shown::is(&want, &said) {
            return Err(format!(
                "docs/{}:{line}: shown is\n{want}\nand printed was\n{said}",
                page.name
            ));
        }
    }
    Ok(())
}

/// What is compared when all has run.
struct Check {
    line: usize,
    want: String,
    /// In the shared folder.
    file: String,
}

fn script(page: &Page) -> (String, Vec<Check>) {
    let mut script = PRELUDE.to_owned();
    let mut checks = Vec::new();
    let mut last = None;
    for step in &page.steps {
        match step {
            Step::Commands {
                line,
                mark: Mark::Run { exit },
                lines,
            } => {
                last = Some(*line);
                let _ = writeln!(script, "begin {} {line}", page.name);
                for command in lines {
                    let kind = kind(command, *exit);
                    let _ = write!(script, "{kind} {exit} <<'END'\n{command}\nEND\n");
                }
            }
            Step::Commands { .. } => last = None,
            Step::Said { .. } => {}
            Step::Meanwhile { line, command } => {
                let _ = write!(
                    script,
                    "begin {} {line}\nruns 0 <<'END'\n{command}\nEND\n",
                    page.name
                );
            }
            Step::File { path, text } => {
                let _ = write!(
                    script,
                    "mkdir -p \"$(dirname {path})\"\ncat >{path} <<'END'\n{text}END\n"
                );
            }
            Step::Shows { line, text } => checks.push(Check {
                line: *line,
                want: text.clone(),
                file: match last {
                    Some(line) => format!("out.{line}"),
                    None => panic!("docs/{}:{line}: shows what is not printed here", page.name),
                },
            }),
            Step::Log { line, text } => {
                let _ = writeln!(script, "begin {} {line}", page.name);
                for part in shown::fragments(text) {
                    let _ = write!(script, "logged <<'END'\n{part}\nEND\n");
                }
            }
        }
    }
    (script, checks)
}

/// The shell function that runs a command.
fn kind(command: &str, exit: i32) -> &'static str {
    let words: Vec<&str> = command.split_whitespace().collect();
    let serves = words.windows(2).any(|two| two == ["ramboot", "serve"]);
    if serves && exit == 0 && !words.contains(&"--help") {
        "serves"
    } else if words.contains(&"--watch") {
        "watches"
    } else {
        "runs"
    }
}

/// What pages take for granted in the folder they begin in: root file systems and images, none of which would run. An image of
/// a disk is a tar here: what a source is, its content says.
fn sources(home: &Path) {
    fs::create_dir_all(home).expect("folder");
    for (name, motd) in [
        ("worker.sqfs", "one"),
        ("worker-2.sqfs", "two"),
        ("gpu.sqfs", "gpu"),
        ("pi.sqfs", "pi"),
    ] {
        let mut files = small_image::debian_like();
        files.push(("/etc/motd".to_owned(), format!("{motd}\n").into()));
        fs::write(home.join(name), small_image::squashfs(&files)).expect("written");
    }
    let files = small_image::debian_like();
    for (path, content) in &files {
        let path = home.join("rootfs").join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(&path, content).expect("written");
        if path.ends_with("sbin/init") {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        }
    }
    fs::create_dir_all(home.join("rootfs/tmp")).expect("folder");
    fs::create_dir(home.join(".ssh")).expect("folder");
    fs::write(home.join(".ssh/id_ed25519.pub"), "ssh-ed25519 AAAA you\n").expect("written");
    let tar = |name: &str| {
        let status = Command::new("tar")
            .args(["-c", "-a", "-f"])
            .arg(home.join(name))
            .arg("-C")
            .arg(home.join("rootfs"))
            .arg(".")
            .status();
        assert!(status.expect("tar").success(), "{name}");
    };
    tar("raspios.tar.xz");
    fs::rename(
        home.join("raspios.tar.xz"),
        home.join("raspios-lite-arm64.img.xz"),
    )
    .expect("renamed");
    tar("rootfs.tar.zst");
}

/// Makes root folder and network, and goes there.
const ROOT: &str = r#"
cd "$1"
mount -t tmpfs docs root
mkdir -p root/{etc,dev,proc,sys,usr,tmp,run,root,home/you,shared,var/lib}
for name in usr dev proc sys; do mount --rbind /$name root/$name; done
for name in bin sbin lib lib32 lib64; do
    if [ -L /$name ]; then cp -P /$name root/; elif [ -d /$name ]; then mkdir root/$name; mount --rbind /$name root/$name; fi
done
mount -o remount,bind,ro root/usr
mount -t tmpfs local root/usr/local
mkdir root/usr/local/bin
touch root/usr/local/bin/ramboot
mount --bind "$2" root/usr/local/bin/ramboot
for name in passwd group nsswitch.conf ld.so.cache alternatives; do
    [ ! -e /etc/$name ] || cp -r /etc/$name root/etc/
done
mount --bind shared root/shared
ip link set lo up
ip link add eth0 address 02:00:00:00:00:01 type bridge
ip address add "$3" dev eth0
ip link set eth0 up
cp -r shared/home/. root/home/you/
mkdir root/etc/default
cp shared/toml root/etc/ramboot.toml
cp shared/default root/etc/default/ramboot
exec chroot root bash -u /shared/page.sh "${3%/*}"
"#;

/// What the script of a page begins with.
const PRELUDE: &str = r#"
cd /home/you
address=$1
url=http://$1:8067
manager=
touch /shared/log
begin() { page=$1 line=$2; : >/shared/out.$line; }
fail() { echo "docs/$page:$line: $1"; cat /shared/out.$line; exit 1; }
stop() {
    [ -z "$manager" ] || { kill $manager; wait $manager 2>/dev/null; }
    manager=
}
trap stop EXIT
sudo() { "$@"; }
runs() {
    local text; text=$(cat)
    eval "$text" >>/shared/out.$line 2>&1 </dev/null
    local code=$?
    [ $code = $1 ] || fail "$text: exit code $code instead of $1"
}
watches() {
    local text; text=$(cat)
    timeout --foreground 1 bash -c "${text#sudo }" >>/shared/out.$line 2>&1
    [ $? = 124 ] || fail "$text: ended by itself"
}
# Starts a manager in the place of the one that runs.
start() {
    stop
    : >/shared/log
    eval "exec setpriv --pdeathsig KILL $1" >>/shared/log 2>&1 </dev/null &
    manager=$!
    until grep -q 'serving on' /shared/log; do
        kill -0 $manager 2>/dev/null || { manager=; cat /shared/log >>/shared/out.$line; return 1; }
        sleep 0.05
    done
}
serves() {
    local text; text=$(cat)
    start "${text#sudo }" || fail "$text: no manager"
}
# What the unit says, without systemd.
systemctl() {
    local exec
    exec="env $(grep -v '^#' /etc/default/ramboot | tr '\n' ' ') $(sed -n 's|^ExecStart=/usr/bin/||p' /shared/service)"
    case "$*" in
    "enable --now ramboot" | "start ramboot" | "restart ramboot") start "$exec" ;;
    "reload ramboot") kill -HUP $manager ;;
    "stop ramboot") stop ;;
    "cat ramboot") cat /shared/service ;;
    *) echo "systemctl $*: not known here"; return 1 ;;
    esac
}
# Another machine, with this address, that gives out those from the second to the third.
router() {
    setpriv --pdeathsig KILL unshare --net sleep infinity &
    local there=/proc/$!/ns/net
    until [ "$(readlink $there)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
    ip link add port0 type veth peer name lan0 netns $!
    ip link set port0 master eth0 up
    nsenter --net=$there ip address add $1/24 dev lan0
    nsenter --net=$there ip link set lan0 up
    setpriv --pdeathsig KILL nsenter --net=$there dnsmasq --keep-in-foreground --user=root --group= \
        --conf-file=/dev/null --port=0 --no-ping --pid-file=/run/dnsmasq.pid --dhcp-leasefile=/run/leases \
        --interface=lan0 --dhcp-range=$2,$3 2>/run/dnsmasq.log &
    until [ -s /run/dnsmasq.pid ]; do sleep 0.02; done
}
# A worker at this address, with this MAC, host name and image: up, as its heartbeat says.
beat() {
    local id; id=$(curl -sf $url/nodes.json | sed "s/.*\"name\":\"$4\",\"id\":\"\([0-9a-f]*\).*/\1/")
    ip address add $1/24 dev eth0
    # Bash cannot choose the sender's address, so the route says it.
    ip route replace local $address dev eth0 table local src $1
    printf '{"mac":"%s","image":"%s","hostname":"%s","boot_ms":14200,"up_s":95,"memory":3974103040,"available":3758096384,"load_percent":7}' \
        $2 $id $3 >/dev/udp/$address/8067
    until ramboot nodes --json | grep -q "\"$2\""; do sleep 0.05; done
    ip route replace local $address dev eth0 table local src $address
}
# A worker at this address, with this MAC, and the stage and sentence it stopped with.
stops() {
    ip address add $1/24 dev eth0
    curl -sf --interface $1 $url/report --data "{\"mac\":\"$2\",\"image\":\"$(printf '07%.0s' {1..32})\",\"line\":{\"stage\":\"$3\",\"error\":\"$4\",\"ms\":9}}"
}
logged() {
    local text; text=$(cat)
    for _ in $(seq 200); do
        ! grep -qF -- "$text" /shared/log || return 0
        sleep 0.05
    done
    cp /shared/log /shared/out.$line
    fail "the manager does not log: $text"
}
"#;

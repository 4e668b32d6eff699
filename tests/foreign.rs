//! Other people's DHCP, TFTP and HTTP clients against the built manager: what they take for an answer, and that they end.
//!
//! `make test-all` runs it, as it needs clients that few machines have (`tests/setup.sh all`) and root for its networks. A
//! client is a script, run on the machines' side of a network of its own; it succeeds or the case fails.
#![allow(
    clippy::disallowed_methods,
    reason = "tests start programs and wait with deadlines"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ramboot_swarm::rig::{Lan, Manager, Sizes, fill};

const MIB: usize = 1 << 20;

/// Seconds until a client that does not end is ended: each takes a few, on a busy machine a minute.
const LIMIT: &str = "180";

/// What each script begins with: a place for files that is gone afterwards, nothing of this machine's own daemons, and no
/// address on the machines' end of the cable, `c0`.
const BEFORE: &str = r#"
mount -t tmpfs tmpfs /run
ip address flush dev c0
has_address() { ip -4 -brief address show dev c0 | grep -Eq ' 10\.98\.[1-8]\.[0-9]+/16'; }
until_it() { until "$@"; do sleep 0.2; done; }
cat >hook <<END
#!/bin/sh
# dhclient has \$reason and \$new_ip_address, udhcpc \$1 and \$ip; neither has this environment.
echo "\${reason:-\$1} \${new_ip_address:-\$ip}" >>"$PWD/hooked"
END
chmod +x hook
"#;

/// Runs `script` as a machine beside a manager in full mode; `$IMAGE` and `$LOADER` are what it serves, `$URL` and `$MANAGER`
/// where. What it printed.
fn client(script: &str) -> String {
    assert!(
        rustix::process::geteuid().is_root(),
        "run as root: cases make networks"
    );
    let state = tempfile::tempdir().expect("folder");
    let sizes = Sizes {
        image: 5 * MIB + 4096,
        kernel: MIB / 4,
        initrd: MIB / 4,
    };
    let stored = fill(state.path(), sizes).expect("store");
    let lan = Lan::new().expect("a network");
    let program = Path::new(env!("CARGO_BIN_EXE_ramboot"));
    let manager = Manager::start(&lan, program, state.path(), &[]).expect("a manager");
    let work = tempfile::tempdir().expect("folder");
    let mut command = Command::new("timeout");
    command
        .args([
            "--kill-after=5",
            LIMIT,
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["sh", "-euc", &format!("{BEFORE}\n{script}")])
        .current_dir(work.path())
        .env("IMAGE", only_image(state.path()))
        .env("LOADER", state.path().join("ipxe/undionly.kpxe"))
        .env("URL", format!("http://{}{}", manager.http(), stored.image))
        .env("MANAGER", manager.http().ip().to_string());
    let ran = lan.client(move || Ok(command.output()?)).join();
    let output = ran.expect("no panic").expect("timeout(1) and unshare(1)");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}: {text}", output.status);
    assert_eq!(manager.said(), [""; 0], "warnings of the manager; {text}");
    text
}

/// The one image of a store.
fn only_image(state: &Path) -> PathBuf {
    let mut images = fs::read_dir(state.join("images")).expect("images");
    let image = images.next().expect("one").expect("readable");
    image.path().join("image.sqfs")
}

#[test]
#[ignore = "make test-all"]
fn dhclient_gets_an_address_and_keeps_it_after_a_reboot() {
    let said = client(
        "run() { dhclient -4 -1 -v -sf $PWD/hook -lf $PWD/leases -pf $PWD/pid c0; kill $(cat pid); }
        touch leases
        run
        run
        cat hooked",
    );
    let got = |reason: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(reason));
        line.unwrap_or_else(|| panic!("no {reason:?} in {said}"))
    };
    assert_eq!(got("BOUND "), got("REBOOT "), "{said}");
}

#[test]
#[ignore = "make test-all"]
fn udhcpc_gets_an_address() {
    client("udhcpc -i c0 -n -q -f -s $PWD/hook; grep -E '^bound 10[.]98[.][1-8][.]' hooked");
}

#[test]
#[ignore = "make test-all"]
fn dhcpcd_gets_an_address_that_nobody_defends() {
    // Its state is this machine's otherwise.
    client(
        "mkdir -p /var/lib/dhcpcd; mount -t tmpfs tmpfs /var/lib/dhcpcd
        dhcpcd -4 -1 -t 60 -c $PWD/hook c0
        has_address",
    );
}

#[test]
#[ignore = "make test-all"]
fn networkd_gets_an_address() {
    // With a /sys that cannot be written it waits for no udev, as in a container.
    client(
        "mount -t sysfs -o ro sysfs /sys
        mkdir -p /run/systemd/network /run/systemd/netif
        printf '[Match]\\nName=c0\\n[Network]\\nDHCP=ipv4\\nIPv6AcceptRA=no\\n' >/run/systemd/network/10-c0.network
        chown -R systemd-network: /run/systemd/netif
        /lib/systemd/systemd-networkd &
        until_it has_address",
    );
}

#[test]
#[ignore = "make test-all"]
fn network_manager_gets_an_address() {
    client(
        "mount -t sysfs -o ro sysfs /sys
        mkdir -p /run/dbus /run/NetworkManager/system-connections /var/lib/NetworkManager
        mount -t tmpfs tmpfs /var/lib/NetworkManager
        printf '[main]\\nplugins=keyfile\\ndhcp=internal\\nno-auto-default=*\\n' >nm.conf
        printf '[connection]\\nid=c0\\ntype=ethernet\\ninterface-name=c0\\n[ipv4]\\nmethod=auto\\n[ipv6]\\nmethod=disabled\\n' \\
            >/run/NetworkManager/system-connections/c0.nmconnection
        chmod 600 /run/NetworkManager/system-connections/c0.nmconnection
        dbus-daemon --system --nofork --nopidfile &
        until_it test -S /run/dbus/system_bus_socket
        NetworkManager --no-daemon --config=$PWD/nm.conf &
        until_it has_address",
    );
}

#[test]
#[ignore = "make test-all"]
fn perfdhcp_loses_nothing() {
    // It plays a relay: the network behind it is the one its address is of. There a manager that has just started gives nobody a
    // new address for a minute.
    let said = client(
        "ip address add 10.98.0.2/16 dev c0
        until_it perfdhcp -4 -l c0 -r 1 -R 1 -n 1 -W 2000000 >/dev/null 2>&1
        perfdhcp -4 -l c0 -r 100 -R 100 -n 300 -W 2000000",
    );
    let dropped: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("drops: "))
        .collect();
    assert_eq!(dropped, ["drops: 0", "drops: 0"], "{said}");
}

#[test]
#[ignore = "make test-all"]
fn tftp_clients_get_what_is_there() {
    client(
        r#"ip address add 10.98.0.2/16 dev c0
        atftp --get -r undionly.kpxe -l plain "$MANAGER"; cmp plain "$LOADER"
        atftp --option 'tsize 0' --option 'blksize 1428' --option 'timeout 2' --get -r undionly.kpxe -l options "$MANAGER"; cmp options "$LOADER"
        tftp -m binary "$MANAGER" -c get undionly.kpxe hpa; cmp hpa "$LOADER"
        curl -sS --tftp-blksize 1024 -o curl "tftp://$MANAGER/undionly.kpxe"; cmp curl "$LOADER"
        curl -sS --tftp-no-options -o old "tftp://$MANAGER/undionly.kpxe"; cmp old "$LOADER"
        busybox tftp -g -r undionly.kpxe -l busybox "$MANAGER"; cmp busybox "$LOADER"
        ! curl -sS "tftp://$MANAGER/absent""#,
    );
}

#[test]
#[ignore = "make test-all"]
fn http_clients_get_the_image_whole_in_pieces_and_resumed() {
    client(
        r#"ip address add 10.98.0.2/16 dev c0
        curl -sSf -o whole "$URL"; cmp whole "$IMAGE"
        head -c 1000001 "$IMAGE" >resumed; curl -sSf -C - -o resumed "$URL"; cmp resumed "$IMAGE"
        curl -sSf -r 4096-8191,-512 -o parts "$URL"; grep -aq multipart parts || grep -aqi 'content-range: bytes 4096-8191/' parts
        [ "$(curl -sS -o /dev/null -w '%{http_code}' -r 999999999- "$URL")" = 416 ]
        aria2c -q --file-allocation=none -x 8 -s 8 -k 1M -o pieces "$URL"; cmp pieces "$IMAGE""#,
    );
}

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const PI: Key = Key::Serial(0x5b15_4510);
const PC: Key = Key::Mac(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]));

fn secret() -> Secret {
    Secret::new([7; 32])
}

fn all(secret: &Secret, key: Key) -> [String; 6] {
    let identity = secret.identity(key);
    let ssh = identity.ssh_host_key().expect("a key");
    [
        identity.machine_id(),
        identity.node_password(),
        identity.secret("munge"),
        secret.shared("munge"),
        ssh.public,
        ssh.private,
    ]
}

/// A worker must be the same after an update of this program: these never change.
#[test]
fn what_workers_are_is_for_ever() {
    let [.., private] = all(&secret(), PC);
    let mut got = all(&secret(), PC);
    got[5] = blake3::hash(private.as_bytes()).to_hex().to_string();
    let want = [
        "6babec2bbe0842da967a5dcaace2f2ae",
        "152b0ffd96811c124c6e71b2af6d76d2",
        "fb4f686158951cae91202c67d958473c03d9cf5039ab1b7cb429706e0b116f47",
        "87abf9ad61bb17b0d806ae751cde08cf37c2217f641f626deddf7c8a908f3fc8",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHl3QyEfwDD00Gz2bVNWHtQklAitMu7JHeg60sF2JlLf ramboot\n",
        "56a2fccc069ffccb7544ddd6993d3f7f120e782431934fecb7a95e63803ce202",
    ];
    assert_eq!(got, want);
    assert_eq!(
        secret().identity(PI).machine_id(),
        "0ca24f1d71db48b19e1076ff6f670b9d"
    );
}

#[test]
fn openssh_reads_the_key() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("ssh_host_ed25519_key");
    let key = secret().identity(PC).ssh_host_key().expect("a key");
    std::fs::write(&path, &key.private).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).expect("mode");
    let out = std::process::Command::new("ssh-keygen")
        .args(["-y", "-f"])
        .arg(&path)
        .output()
        .expect("ssh-keygen (apt install openssh-client)");
    assert!(out.status.success(), "{out:?}");
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(
        words(&String::from_utf8_lossy(&out.stdout)),
        words(&key.public)
    );
}

#[test]
fn the_key_is_what_the_machine_said() {
    let worker = |text: &str| text.parse::<Worker>().expect("a worker");
    for (text, want) in [
        (
            "w~10.0.0.1:8067~52-54-00-12-34-56~5b154510~aarch64~",
            Some(PI),
        ),
        ("w~10.0.0.1:8067~~5b154510~aarch64~", Some(PI)),
        ("w~10.0.0.1:8067~52-54-00-12-34-56~~x86_64~", Some(PC)),
        ("w~10.0.0.1:8067~~~x86_64~", None),
    ] {
        assert_eq!(Key::of(&worker(text)), want, "{text}");
    }
    assert_eq!(
        [PI.short(), PC.short()],
        ["154510".to_owned(), "123456".to_owned()]
    );
}

#[test]
fn the_file_has_one_form() {
    let digits = "0123456789abcdef".repeat(4);
    let read = digits.parse::<Secret>().expect("a secret");
    assert_eq!(format!("{digits}\n").parse(), Ok(read.clone()));
    assert_eq!(hex(&read.0), digits);
    assert_eq!(format!("{read:?}"), "Secret");
    for text in [
        "",
        "\n",
        &digits[1..],
        &format!("{digits}0"),
        &format!("{digits}\n\n"),
        &digits.to_uppercase(),
        &digits.replace('0', "g"),
    ] {
        assert_eq!(text.parse::<Secret>(), Err(BadSecret), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_two_are_the_same(a: [u8; 32], b: [u8; 32], mac: [u8; 6], other: [u8; 6], label in ".{0,20}") {
        prop_assume!(a != b && mac != other);
        let mut seen = HashSet::new();
        let mut count = 0;
        for secret in [Secret::new(a), Secret::new(b)] {
            prop_assert!(seen.insert(secret.shared(&label)));
            count += 1;
            for key in [Key::Mac(Mac(mac)), Key::Mac(Mac(other)), Key::Serial(u32::from(mac[0]))] {
                let identity = secret.identity(key);
                let ssh = identity.ssh_host_key().expect("a key");
                let id = identity.machine_id();
                prop_assert!(id.len() == 32 && id.as_bytes()[12] == b'4' && b"89ab".contains(&id.as_bytes()[16]), "{id}");
                for value in [id, identity.node_password(), identity.secret(&label), ssh.public] {
                    prop_assert!(seen.insert(value));
                    count += 1;
                }
            }
        }
        prop_assert_eq!(seen.len(), count);
    }

    #[test]
    fn labels_and_machines_do_not_run_into_each_other(a in "[a-z:]{0,8}", b in "[a-z:]{0,8}") {
        let secret = secret();
        let derive = |words: &[&str]| secret.derive::<32>(WORKER_SECRET, words);
        let joined = [a.as_str(), &b].concat();
        prop_assert!(derive(&[&a, &b]) != derive(&[&joined]));
        prop_assert!(derive(&[&a, &b]) != derive(&[&a, &b, ""]));
    }
}

//! The built program as a user meets it: help that fits and teaches, refusals in one sentence, exit codes.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn ramboot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ramboot"))
        .args(args)
        .env_remove("RAMBOOT_STATE")
        .env_remove("RAMBOOT_LOG")
        .output()
        .expect("runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_fits_eighty_columns() {
    for args in [
        &["--help"][..],
        &["build", "--help"],
        &["publish", "--help"],
        &["serve", "--help"],
        &["nodes", "--help"],
        &["eeprom", "--help"],
        &["eeprom", "conf", "--help"],
        &["eeprom", "offer", "--help"],
        &["eeprom", "write", "--help"],
        &["doctor", "--help"],
    ] {
        let output = ramboot(args);
        assert!(output.status.success());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
    }
}

#[test]
fn help_teaches() {
    for (command, want) in [
        ("build", "root is not needed"),
        ("rollback", "nothing is lost"),
        ("unpublish", "its images stay"),
        ("gc", "Never removed: what a name stands for"),
        ("nodes", "A star after an image"),
        ("images", "HOT is what a worker"),
        (
            "profile",
            "is hot: the next worker that streams waits for that",
        ),
        ("doctor", "Changes nothing."),
    ] {
        let output = ramboot(&[command, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
        assert!(text.contains(want), "{command}: {text}");
    }
}

#[test]
fn a_wrong_word_is_named_with_exit_code_2() {
    for (args, want) in [
        (&["publsh"][..], "publsh"),
        (
            &["serve", "--dhcp", "maybe"],
            "possible values: proxy, full, off",
        ),
        (
            &["serve", "--pool", "10.0.0.9-10.0.0.5"],
            "the range ends (10.0.0.5) before it begins (10.0.0.9)",
        ),
        (&["serve", "--http-port", "0"], "0"),
        (&["publish"], "<IMAGE>"),
        (
            &["eeprom", "conf", "--order", "0x8"],
            "the digit 8 stands for nothing",
        ),
        (
            &["eeprom", "conf", "--order", "0xf2", "--first", "sd"],
            "cannot be used with",
        ),
        (
            &["eeprom", "conf", "--netconsole", "6665@/,6666@10.0.0.1/"],
            "with all its separators and the address FROM",
        ),
        (&["eeprom", "offer", "x"], "--serial <SERIAL>"),
        (
            &["eeprom", "withdraw", "--serial", "dc:a6:32:01:02:03"],
            "is not a Raspberry Pi's serial number",
        ),
        (
            &["eeprom", "steps", "--model", "6"],
            "possible values: 2b, 3b, 3b+, 4b, 400, cm4, 5, 500, cm5",
        ),
        (&["build", "rootfs"], "--output <FILE>"),
        (&["publish", "x", "--kernel", "k"], "--modules"),
    ] {
        let output = ramboot(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(want),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn what_is_no_squashfs_is_refused_in_one_sentence_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("folder");
    let state = folder.path().join("state");
    let image = folder.path().join("image.sqfs");
    for bytes in [&b""[..], b"hello", &[0; 4096], b"hsqs"] {
        std::fs::write(&image, bytes).expect("file");
        let output = publish(&image, &state);
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(
            text.starts_with("ramboot: ")
                && text.contains("image.sqfs")
                && text.lines().count() == 1,
            "{text}"
        );
        assert_eq!(files(&state), Vec::<String>::new(), "after {bytes:?}");
    }
    let output = publish(&folder.path().join("absent.sqfs"), &state);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("absent.sqfs"),
        "{}",
        stderr(&output)
    );
}

fn publish(image: &Path, state: &Path) -> Output {
    ramboot(&[
        "publish",
        &image.display().to_string(),
        "--state",
        &state.display().to_string(),
    ])
}

/// Every plain file below, whatever it is.
fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.expect("entry").path()) {
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path.display().to_string())
        }
    }
    found
}

#[test]
fn a_taken_port_is_named_with_its_owner() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("address").port().to_string();
    let state = tempfile::tempdir().expect("folder");
    let output = ramboot(&[
        "serve",
        "--dhcp=off",
        "--interface=lo",
        "--http-port",
        &port,
        "--state",
        &state.path().display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains(&format!("TCP port {port} is taken by ")) && text.contains("--http-port"),
        "{text}"
    );
    assert!(
        text.contains(&format!("(pid {})", std::process::id())),
        "{text}"
    );
}

#[test]
fn a_bad_config_is_refused_by_line() {
    let folder = tempfile::tempdir().expect("folder");
    let config = folder.path().join("ramboot.toml");
    std::fs::write(&config, "[dhcp]\nmode = \"proxy\"\npoool = \"x\"\n").expect("file");
    let output = ramboot(&["serve", "--config", &config.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("poool") && text.contains("line 3"), "{text}");
}

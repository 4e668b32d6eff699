use std::fs;

use tempfile::TempDir;

use super::*;

const PC: &str = "gpu~10.0.0.1:8067~52-54-00-12-34-56~~x86_64~";
const PI: &str = "gpu~10.0.0.1:8067~b8-27-eb-15-45-10~5b154510~aarch64~";

const CONFIG: &str = "[boot]\noverlays = [\"lab\"]\n\
    [[worker]]\nmac = \"52:54:00:12:34:56\"\nhostname = \"node-1\"\naddress = \"10.0.0.9\"\noverlays = [\"gpu\", \"rack\"]\n";

fn config(text: &str) -> Config {
    Config::parse(text).expect("a config")
}

fn worker(text: &str) -> Worker {
    text.parse().expect("a worker")
}

/// A state folder with a fixed secret and these files in its overlays.
fn state(files: &[(&str, &str)]) -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let state = tempfile::tempdir().expect("folder");
    let secret = state.path().join("secret");
    fs::write(&secret, format!("{}\n", "07".repeat(32))).expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("mode");
    for (path, text) in files {
        put(&state, path, text);
    }
    state
}

fn put(state: &TempDir, path: &str, text: &str) {
    let path = state.path().join("overlays").join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(path, text).expect("written");
}

fn open(state: &TempDir) -> WorkerFiles {
    WorkerFiles::open(state.path()).expect("a secret")
}

fn text(archive: &Bytes) -> String {
    String::from_utf8_lossy(archive).into_owned()
}

#[test]
fn templates_know_the_worker() {
    let state = state(&[
        (
            "common/etc/all.j2",
            "{{ id }} {{ mac }} {{ arch }} {{ image }} {{ manager }} {{ hostname }} {{ machine_id }}\n",
        ),
        (
            "gpu/etc/one.j2",
            "{{ address }} {{ secret('a') }} {{ worker_secret('a') }}\n",
        ),
        ("rack/etc/all", "over\n"),
        ("lab/etc/lab", "in the lab\n"),
    ]);
    let worker_files = open(&state);
    let config = config(CONFIG);
    worker_files.check(&config).expect("all there");
    let given = |worker: &Worker| {
        let given = worker_files.hand_out(&config, worker).expect("given");
        let files = given.files.expect("files");
        let archive = worker_files.get(&config, worker, files.id).expect("made");
        (given.hostname, text(&archive.expect("here")))
    };
    let secret: Secret = "07".repeat(32).parse().expect("a secret");
    let (name, pc) = given(&worker(PC));
    assert_eq!(name.as_deref(), Some("node-1"));
    let own = secret.identity(Key::of(&worker(PC)).expect("a key"));
    let one = format!("10.0.0.9 {} {}\n", secret.shared("a"), own.secret("a"));
    assert!(pc.contains(&one) && pc.contains("over\n"), "{pc}");
    assert!(pc.contains(&format!("{}\n", own.machine_id())), "{pc}");
    assert!(!pc.contains("in the lab"), "{pc}");

    let (name, pi) = given(&worker(PI));
    assert_eq!(name.as_deref(), Some("worker-154510"));
    let own = secret.identity(Key::of(&worker(PI)).expect("a key"));
    let all = format!(
        "154510 b8:27:eb:15:45:10 aarch64 gpu http://10.0.0.1:8067 worker-154510 {}\n",
        own.machine_id()
    );
    assert!(pi.contains(&all) && pi.contains("in the lab\n"), "{pi}");
}

#[test]
fn another_manager_makes_the_same() {
    let files = [("common/etc/x.j2", "{{ manager }} {{ secret('x') }}\n")];
    let (one, two) = (state(&files), state(&files));
    let (config, worker) = (Config::default(), worker(PC));
    let given = open(&one).hand_out(&config, &worker).expect("given");
    let id = given.files.expect("files").id;
    let restarted = open(&one).get(&config, &worker, id).expect("made");
    let other = open(&two).get(&config, &worker, id).expect("made");
    assert!(restarted.is_some() && restarted == other);
    let stranger = tempfile::tempdir().expect("folder");
    assert_eq!(
        open(&stranger).get(&config, &worker, id).expect("made"),
        None
    );
}

#[test]
fn an_edit_does_not_stop_a_boot_under_way() {
    let state = state(&[("common/etc/x", "old\n")]);
    let (config, worker) = (Config::default(), worker(PC));
    let worker_files = open(&state);
    let id_of = |worker_files: &WorkerFiles| {
        let given = worker_files.hand_out(&config, &worker).expect("given");
        given.files.expect("files").id
    };
    let old = id_of(&worker_files);
    put(&state, "common/etc/x", "new\n");
    let kept = worker_files.get(&config, &worker, old).expect("kept");
    assert!(text(&kept.expect("here")).contains("old\n"));
    assert_ne!(id_of(&worker_files), old, "the next boot gets the new one");
    let restarted = open(&state).get(&config, &worker, old).expect("made");
    assert_eq!(restarted, None, "nobody can make the old one any more");
}

#[test]
fn what_cannot_be_made_is_said() {
    let state = state(&[("bad/etc/x.j2", "{{ serial }}\n"), ("worse/x.j2", "{{\n")]);
    let worker_files = open(&state);
    let say = |config_text: &str| {
        let config = config(config_text);
        let error = worker_files
            .check(&config)
            .and_then(|()| worker_files.hand_out(&config, &worker(PC)).map(drop));
        format!("{:#}", error.expect_err("refused"))
    };
    for (config, want) in [
        (
            "[boot]\noverlays = [\"bad\"]",
            "worker files: undefined value (in ",
        ),
        ("[boot]\noverlays = [\"bad\"]", "overlays/bad/etc/x.j2:1)"),
        ("[boot]\noverlays = [\"worse\"]", "overlays/worse/x.j2:"),
        (
            "[boot]\noverlays = [\"none\"]",
            "the config says overlays = [\"none\"], but there is no folder ",
        ),
        (
            "[identity]\nhostname = \"a {{ id }}\"",
            "[identity] hostname = \"a {{ id }}\" makes \"a 123456\" of this machine, which is no host name",
        ),
        (
            "[identity]\nhostname = \"{{ serial }}\"",
            "undefined value (in [identity] hostname:1)",
        ),
    ] {
        let error = say(config);
        assert!(error.contains(want), "{config}: {error}");
    }
}

#[test]
fn names_are_left_to_the_image_on_request() {
    let state = state(&[(
        "common/etc/x.j2",
        "{% if hostname is defined %}one{% else %}none{% endif %}",
    )]);
    let config = config("[identity]\nhostname = \"\"");
    let worker_files = open(&state);
    let given = worker_files.hand_out(&config, &worker(PC)).expect("given");
    assert_eq!(given.hostname, None);
    let id = given.files.expect("files").id;
    let archive = worker_files.get(&config, &worker(PC), id).expect("made");
    assert!(text(&archive.expect("here")).contains("none"));
}

#[test]
fn who_cannot_be_told_from_others_is_given_nothing() {
    let nobody = worker("gpu~10.0.0.1:8067~~~aarch64~");
    let state = state(&[]);
    let given = open(&state).hand_out(&Config::default(), &nobody);
    assert_eq!(given.expect("boots all the same"), Handout::default());
}

/// Long after whatever was changed.
fn later() -> i64 {
    now() + 1000
}

#[test]
fn what_is_made_of_the_same_is_made_once() {
    let state = state(&[
        ("common/etc/a", "one"),
        ("gpu/etc/b", "two"),
        ("rack/c", "x"),
    ]);
    let worker_files = open(&state);
    let key = Key::of(&worker(PC)).expect("a key");
    let made = |config: &Config, now| {
        let made = worker_files.made(config, &worker(PC), key, now);
        made.expect("made").1
    };
    let first = config(CONFIG);
    let once = made(&first, later());
    assert_eq!(made(&first, later()).as_ptr(), once.as_ptr());

    // Same name, length and time of modification: it is another file.
    let path = state.path().join("overlays/gpu/etc/b");
    let modified = fs::metadata(&path)
        .expect("there")
        .modified()
        .expect("a time");
    put(&state, "new", "owt");
    let new = state.path().join("overlays/new");
    fs::File::open(&new)
        .and_then(|file| file.set_modified(modified))
        .expect("set");
    fs::rename(&new, &path).expect("renamed");
    let twice = made(&first, later());
    assert!(text(&twice).contains("owt"));
    assert_eq!(made(&first, later()).as_ptr(), twice.as_ptr());

    let renamed = config(&CONFIG.replace("node-1", "node-2"));
    assert_ne!(made(&renamed, later()).as_ptr(), twice.as_ptr());

    // An overlay that is put in place while it is looked for.
    fs::remove_dir_all(state.path().join("overlays/common")).expect("removed");
    let less = made(&first, later());
    assert!(!text(&less).contains("one"));
    put(&state, "common/etc/a", "one");
    assert!(text(&made(&first, later())).contains("one"));
}

/// What was changed a moment ago may change again within one tick of the kernel's clock for files.
#[test]
fn what_was_just_changed_is_made_again() {
    let state = state(&[("common/etc/a", "one")]);
    let worker_files = open(&state);
    let key = Key::of(&worker(PC)).expect("a key");
    let made = || worker_files.made(&Config::default(), &worker(PC), key, now());
    let (_, first) = made().expect("made");
    let (_, second) = made().expect("made");
    assert_eq!(first, second);
    assert_ne!(first.as_ptr(), second.as_ptr());
}

#[test]
fn who_wants_the_same_at_once_waits_for_the_one_who_makes_it() {
    let state = state(&[("common/etc/a", "one"), ("gpu/b", "x"), ("rack/c", "x")]);
    let (worker_files, config, now) = (open(&state), config(CONFIG), later());
    let key = Key::of(&worker(PC)).expect("a key");
    let together = std::sync::Barrier::new(8);
    let places: Vec<usize> = std::thread::scope(|scope| {
        let threads = (0..8).map(|_| {
            scope.spawn(|| {
                together.wait();
                let made = worker_files.made(&config, &worker(PC), key, now);
                made.expect("made").1.as_ptr().addr()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_eq!(places, [places[0]; 8]);
    assert!(lock(&worker_files.making).is_empty());
}

use proptest::prelude::*;
use ramboot_wire::stage::Bar;
use ramboot_wire::{Arch, ImageId, Mac};

use super::*;
use crate::control::Served;
use crate::fleet::snapshot::{
    Fetch, Filling, ImageRow, ImageUse, Manager, Snapshot, Standing, Trouble, WorkerRow,
};

/// 2026-11-26 06:00.
const NOW: u64 = 1_795_672_800;

fn snapshot(images: Vec<ImageRow>, workers: Vec<WorkerRow>) -> Snapshot {
    Snapshot {
        version: 1,
        manager: Manager {
            version: "0.1.0".to_owned(),
            up_s: 11_520,
            bytes_per_s: 368_000_000,
            bytes: 12_400_000_000,
            refused: 0,
            interfaces: Vec::new(),
            unlisted: 0,
        },
        images,
        workers,
    }
}

fn image() -> ImageRow {
    ImageRow {
        name: "default".to_owned(),
        id: ImageId([0x9f; 32]),
        size: 139_100_000,
        kernel: "6.1.0-40-amd64".to_owned(),
        arch: Arch::X86_64,
        published_s: 3 * 3600,
        note: String::new(),
        previous: None,
        running: 1,
        running_previous: 0,
    }
}

fn worker(last: u8) -> WorkerRow {
    let used = ImageUse {
        id: ImageId([0x9f; 32]),
        name: Some("default".to_owned()),
    };
    WorkerRow {
        mac: Mac([0x52, 0x54, 0, 0, 0, last]),
        name: Some(format!("worker-{last:02}")),
        address: Some([10, 0, 0, last].into()),
        model: "QEMU Standard PC".to_owned(),
        serial: None,
        uuid: None,
        arch: Some(Arch::X86_64),
        memory: Some(4_096_000_000),
        image: Some(used.clone()),
        next: Some(used),
        would_change: false,
        state: Standing::Up,
        stage: None,
        sentence: "up".to_owned(),
        since_s: 60,
        up_s: Some(11_520),
        boot_ms: Some(12_449),
        available: Some(3_000_000_000),
        load_percent: Some(7),
        seen_s: 5,
        boot: vec![
            bar("dhcp", 0, 1_000),
            bar("linux", 1_000, 5_000),
            bar("fetch", 5_000, 7_500),
        ],
        fetch: None,
        filling: None,
        problem: None,
    }
}

fn bar(what: &str, begin_ms: u64, end_ms: u64) -> Bar {
    Bar {
        what: what.to_owned(),
        begin_ms,
        end_ms,
    }
}

fn fetching(last: u8) -> WorkerRow {
    WorkerRow {
        state: Standing::Booting,
        stage: Some("fetch".to_owned()),
        sentence: "fetches the image: 37 of 139 MB, 92 MB/s".to_owned(),
        since_s: 1,
        up_s: None,
        boot_ms: None,
        fetch: Some(Fetch {
            bytes: 37_000_000,
            size: Some(139_100_000),
            bytes_per_s: 92_000_000,
        }),
        ..worker(last)
    }
}

fn failed(last: u8, sentence: &str) -> WorkerRow {
    WorkerRow {
        state: Standing::Failed,
        stage: Some("mount".to_owned()),
        sentence: "stopped in the stage mount".to_owned(),
        up_s: None,
        boot_ms: None,
        problem: Some(Trouble {
            sentence: sentence.to_owned(),
            remedy: "`ramboot publish --dry-run IMAGE` says what is missing.".to_owned(),
            since_s: 340,
        }),
        ..worker(last)
    }
}

fn page(images: Vec<ImageRow>, workers: Vec<WorkerRow>) -> String {
    html(&snapshot(images, workers), NOW).expect("a page")
}

#[test]
fn an_interface_that_is_away_stands_on_it() {
    let mut snapshot = snapshot(vec![image()], vec![worker(1)]);
    let page = |snapshot: &Snapshot| html(snapshot, NOW).expect("a page");
    assert!(!page(&snapshot).contains("The manager itself"));
    snapshot.manager.interfaces = vec![Served {
        name: "lan1".to_owned(),
        address: [10, 0, 1, 1].into(),
        prefix_len: 24,
        trouble: Some("interface lan1 is away (it is down): <b>".to_owned()),
    }];
    let page = page(&snapshot);
    assert!(page.contains("The manager itself"), "{page}");
    assert!(page.contains("<li><bdi>interface lan1 is away (it is down): &lt;b&gt;</bdi></li>"));
}

#[test]
fn one_row_per_thing_that_stands_there() {
    let quiet = "was up, and has sent no heartbeat for 4 min".to_owned();
    let silent = WorkerRow {
        state: Standing::Silent,
        sentence: quiet.clone(),
        problem: Some(Trouble {
            sentence: quiet,
            remedy: "Is it still on, and the cable in?".to_owned(),
            since_s: 240,
        }),
        ..worker(1)
    };
    let filling = Filling {
        percent: 37,
        resident: Some(51_467_000),
        size: Some(139_100_000),
        bytes_per_s: 7_300_000,
        independent_s: Some(12),
        blocked_s: 0,
        heard_s: 1,
    };
    let streams = WorkerRow {
        sentence: "running, 37 % resident, 12 s to independence".to_owned(),
        since_s: 10,
        filling: Some(filling),
        ..worker(1)
    };
    let waits = WorkerRow {
        sentence: "running, 37 % resident, waits for the manager".to_owned(),
        filling: Some(filling),
        up_s: Some(60),
        ..failed(1, "a program of this machine has waited 12 s")
    };
    let untethered = WorkerRow {
        boot: vec![
            bar("fetch", 0, 500),
            bar("mount", 500, 1_000),
            bar("untethered", 1_000, 10_000),
        ],
        ..worker(1)
    };
    let asking = WorkerRow {
        name: None,
        address: None,
        image: None,
        memory: None,
        state: Standing::Asking,
        boot: Vec::new(),
        ..fetching(1)
    };
    let overcome = WorkerRow {
        problem: failed(1, "no `route`").problem,
        ..fetching(1)
    };
    let again = WorkerRow {
        since_s: 340,
        ..overcome.clone()
    };
    let linux = WorkerRow {
        state: Standing::Loading,
        boot: vec![bar("kernel", 0, 900), bar("initramfs", 900, 1_000)],
        ..fetching(1)
    };
    let outdated = WorkerRow {
        image: Some(ImageUse {
            id: ImageId([0x41; 32]),
            name: None,
        }),
        would_change: true,
        ..worker(1)
    };
    let noted = ImageRow {
        note: "new CUDA".to_owned(),
        previous: Some(ImageId([0x41; 32])),
        running_previous: 3,
        ..image()
    };
    for (images, workers, wants) in [
        (
            vec![],
            vec![],
            vec![
                "<title>0 up · ramboot</title>",
                "<small>0.1.0, up 3 h 12 min</small>",
                "<dd>368 MB&#x2f;s</dd>",
                "<code>sudo ramboot publish image.sqfs --name worker</code>",
                "No machine was seen yet.",
                "As of 2026-11-26 06:00 UTC",
            ],
        ),
        (
            vec![noted.clone()],
            vec![],
            vec![
                "<small><bdi>new CUDA</bdi></small>",
                "<code>414141414141</code> <small>3 still run it</small>",
                "139 MB</td>",
                "title=\"2026-11-26 03:00 UTC\">3 h ago",
            ],
        ),
        (
            vec![image()],
            vec![worker(1)],
            vec![
                "<tr id=\"m-52-54-00-00-00-01\" class=\"up\">",
                "<bdi>worker-01</bdi>",
                "10.0.0.1<small>52:54:00:00:00:01</small>",
                "<i></i>up</span></td>",
                "3 h 12 min</td>",
                "aria-label=\"Boot of worker-01, 12.4 s\"",
                "<rect class=\"linux\" x=\"13.33%\" width=\"53.33%\"/>",
                "5.0 s</td><td class=\"number\">2\u{202f}500 ms <small>56 MB&#x2f;s</small>",
                "3.0 GB of 4.1 GB free<small>load 0.07</small>",
            ],
        ),
        (
            vec![image()],
            vec![fetching(1)],
            vec![
                "<title>1 booting, 0 up · ramboot</title>",
                "<i></i>booting</span><small><bdi>fetches the image: 37 of 139 MB, 92 MB&#x2f;s</bdi></small>",
                "<progress max=\"139100000\" value=\"37000000\"",
                "8.5 s so far",
                "<bdi>fetch</bdi></th><td><svg class=\"fall\" aria-hidden=\"true\"><rect class=\"fetch now\" x=\"88.23%\" width=\"11.76%\"/>",
                "7.5 s</td><td class=\"number\">1 s so far <small>92 MB&#x2f;s</small>",
                "<rect class=\"fetch now\" x=\"88.23%\" width=\"11.76%\"/>",
            ],
        ),
        (
            vec![image()],
            vec![failed(1, "mounting squashfs: EINVAL"), worker(2)],
            vec![
                "<title>1 in trouble · ramboot</title>",
                "<a href=\"#m-52-54-00-00-00-01\"><bdi>worker-01</bdi></a> <bdi>stopped in the stage mount</bdi>: \
                 <bdi class=\"what\">mounting squashfs: EINVAL</bdi> <small>5 min ago</small>",
                "<p class=\"remedy\"><code>ramboot publish --dry-run IMAGE</code> says what is missing.</p>",
                "stopped after 7.5 s",
            ],
        ),
        (
            vec![image()],
            vec![silent],
            vec![
                "<i></i>silent</span><small><bdi>was up, and has sent no heartbeat for 4 min</bdi></small></td>",
                "<bdi>was up, and has sent no heartbeat for 4 min</bdi> <small>4 min ago</small></li>",
                "<p class=\"remedy\">Is it still on, and the cable in?</p>",
            ],
        ),
        (
            vec![image()],
            vec![streams],
            vec![
                "<title>1 up · ramboot</title>",
                "class=\"up filling\"",
                "<i></i>running, 37 % resident, 12 s to independence</span><progress max=\"100\" value=\"37\"",
                "<svg class=\"fall\" aria-hidden=\"true\"><rect class=\"address\" x=\"0.00%\" width=\"13.33%\"/><rect class=\"linux\" x=\"13.33%\" width=\"53.33%\"/><rect class=\"fetch\" x=\"66.66%\" width=\"33.33%\"/></svg></summary>",
                "<bdi>untethered</bdi></th><td><svg class=\"fall\" aria-hidden=\"true\"><rect class=\"fetch now\" x=\"42.85%\" width=\"57.14%\"/>",
                "10 s so far <small>7.3 MB&#x2f;s</small>",
            ],
        ),
        (
            vec![image()],
            vec![waits],
            vec![
                "<title>1 in trouble · ramboot</title>",
                "<bdi>running, 37 % resident, waits for the manager</bdi>: <bdi class=\"what\">a program of this machine has waited 12 s</bdi>",
                "<i></i>waits for its image</span><small><bdi>running, 37 % resident, waits for the manager</bdi></small>",
                "<progress max=\"100\" value=\"37\"",
            ],
        ),
        (
            vec![image()],
            vec![untethered],
            vec![
                "<i></i>up</span></td>",
                "<rect class=\"mount\" x=\"10.00%\" width=\"10.00%\"/></svg></summary>",
                // Of a part of the image, nobody knows how large.
                "<td class=\"number\">500 ms</td>",
                "<bdi>untethered</bdi></th><td><svg class=\"fall\" aria-hidden=\"true\"><rect class=\"fetch\" x=\"10.00%\" width=\"90.00%\"/>",
                "9\u{202f}000 ms",
            ],
        ),
        (
            vec![image()],
            vec![again],
            vec![
                "<title>1 in trouble",
                "class=\"failed\"",
                "<i></i>tries again</span>",
            ],
        ),
        (
            vec![image()],
            vec![overcome],
            vec![
                "<title>1 booting",
                "<i></i>booting</span>",
                "Went wrong in this boot: <bdi>no <code>route</code></bdi>",
            ],
        ),
        (
            vec![image()],
            vec![linux],
            vec!["<rect class=\"linux now\" x=\"20.00%\" width=\"20.00%\"/>"],
        ),
        (
            vec![image()],
            vec![asking],
            vec![
                "<bdi>52:54:00:00:00:01</bdi>",
                "<span class=\"none\">none yet</span>",
                "<span class=\"none\">will get</span> <bdi>default</bdi>",
                "<span class=\"none\">not known</span>",
            ],
        ),
        (
            vec![noted],
            vec![outdated.clone()],
            vec!["<bdi>default before</bdi><small><code>414141414141</code>"],
        ),
        (
            vec![image()],
            vec![outdated],
            vec![
                "<small>1 machine would change on reboot</small>",
                "<bdi>not published</bdi>",
                "<small class=\"change\">reboot: <bdi>default</bdi> <code>9f9f9f9f9f9f</code>",
            ],
        ),
    ] {
        let page = page(images, workers);
        for want in wants {
            assert!(page.contains(want), "no {want} in {page}");
        }
    }
}

#[test]
fn trouble_comes_first_then_who_boots_then_the_rest_by_name() {
    let workers = vec![
        worker(1),
        fetching(2),
        failed(3, "a"),
        worker(4),
        failed(5, "b"),
    ];
    let page = page(vec![image()], workers);
    let rows: Vec<&str> = page
        .split("<tr id=\"m-52-54-00-00-00-")
        .skip(1)
        .map(|row| &row[..2])
        .collect();
    assert_eq!(rows, ["03", "05", "02", "01", "04"]);
    // One remedy, said once for both.
    let trouble = &page[page.find("id=\"trouble\"").expect("is there")..];
    let trouble = &trouble[..trouble.find("</section>").expect("ends")];
    assert_eq!(trouble.matches("says what is missing").count(), 1);
    assert_eq!(trouble.matches("<li ").count(), 2);
}

/// A page on which `text` stands wherever a stranger's can.
fn page_of(text: &str) -> String {
    let some = || Some(text.to_owned());
    let row = WorkerRow {
        name: some(),
        model: text.to_owned(),
        serial: some(),
        image: Some(ImageUse {
            id: ImageId([1; 32]),
            name: some(),
        }),
        stage: some(),
        sentence: text.to_owned(),
        boot: vec![bar(text, 0, 10)],
        problem: Some(Trouble {
            sentence: format!("`{text}`"),
            remedy: format!("see `{text}`"),
            since_s: 0,
        }),
        ..failed(1, "")
    };
    let image = ImageRow {
        name: text.to_owned(),
        kernel: text.to_owned(),
        note: text.to_owned(),
        ..image()
    };
    page(vec![image], vec![row])
}

#[test]
fn hostile_words_stay_words() {
    let tame = page_of("tame");
    for hostile in [
        "</bdi></td><script>alert(1)</script>",
        "<img src=x onerror=\"alert(2)\" a='b'>",
        "\"><b>",
        "{{ version }}{% raw %}",
        "&lt;script&gt;",
        "<!--",
        "]]>",
        "\u{202e}\u{0}\u{1b}[2J\r\n",
    ] {
        let page = page_of(hostile);
        for c in ['<', '>', '"', '\'', '\n', '\u{202e}', '\u{0}'] {
            let count = |page: &str| page.matches(c).count();
            assert_eq!(count(&page), count(&tame), "{c:?} of {hostile} in {page}");
        }
    }
    let page = page_of("<b>&amp;");
    assert!(page.contains("<bdi>&lt;b&gt;&amp;amp;</bdi>"), "{page}");
}

#[test]
fn whatever_there_is_the_page_is_bounded() {
    let long = "x".repeat(2_000);
    let mut workers: Vec<WorkerRow> = Vec::with_capacity(65_536);
    for number in 0..65_536_u32 {
        let [_, _, a, b] = number.to_be_bytes();
        let mut row = failed(b, &long);
        row.mac = Mac([0x52, 0x54, 0, 0, a, b]);
        row.model.clone_from(&long);
        row.boot = vec![bar("fetch", 0, u64::MAX); 32];
        if let Some(problem) = &mut row.problem {
            problem.remedy = format!("{}", number % 100);
        }
        workers.push(row);
    }
    workers[0].name = Some("a".repeat(2_000));
    let page = page(vec![image()], workers);
    assert!(page.len() < 6 << 20, "{} bytes", page.len());
    assert_eq!(page.matches("<tr id=\"m-").count(), model::MAX_ROWS);
    assert!(page.contains("65\u{202f}036 more: <code>ramboot nodes</code>"));
    assert!(page.contains(&format!("<bdi>{}…</bdi>", "a".repeat(62))));
}

/// Milliseconds, bytes, seconds: such as there are, and such as no machine can have measured.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_u64, 0..200_000_u64, any::<u64>(), Just(u64::MAX)]
}

fn anyone() -> impl Strategy<Value = WorkerRow> {
    use Standing::{Asking, Booting, Failed, Loading, Silent, Up};
    let what = vec![
        "dhcp",
        "kernel+initramfs",
        "linux",
        "fetch",
        "untethered",
        "x",
    ];
    let what = prop::sample::select(what);
    let bars = prop::collection::vec((what.clone(), number(), number()), 0..4);
    let filling = (0..=u8::MAX, number(), prop::option::of(number()));
    let fetch = (number(), prop::option::of(number()), number());
    (
        (
            any::<u8>(),
            prop::sample::select(vec![Failed, Silent, Asking, Loading, Booting, Up]),
        ),
        (number(), prop::option::of(number())),
        prop::option::of(what),
        bars,
        prop::option::of(filling),
        prop::option::of(fetch),
    )
        .prop_map(
            |((last, state), (since_s, up_s), stage, bars, filling, fetch)| WorkerRow {
                state,
                since_s,
                up_s,
                memory: up_s,
                available: Some(since_s),
                boot_ms: up_s,
                stage: stage.map(str::to_owned),
                boot: bars
                    .into_iter()
                    .map(|(what, begin_ms, end_ms)| bar(what, begin_ms, end_ms))
                    .collect(),
                filling: filling.map(|(percent, bytes, more)| Filling {
                    percent,
                    resident: more,
                    size: more,
                    bytes_per_s: bytes,
                    independent_s: more,
                    blocked_s: bytes,
                    heard_s: bytes,
                }),
                fetch: fetch.map(|(bytes, size, bytes_per_s)| Fetch {
                    bytes,
                    size,
                    bytes_per_s,
                }),
                ..worker(last)
            },
        )
}

proptest! {
    /// One machine's numbers must not take the page away from who looks at the others.
    #[test]
    fn whatever_is_measured_there_is_a_page(
        rows in prop::collection::vec(anyone(), 0..5),
        (size, published_s) in (number(), number()),
    ) {
        let image = ImageRow { size, published_s, ..image() };
        let machines = rows.len();
        let page = page(vec![image], rows);
        prop_assert_eq!(page.matches("<tr id=\"m-").count(), machines);
    }
}

#[test]
fn the_page_asks_for_these_very_files() {
    let page = page(vec![], vec![]);
    for asset in Asset::ALL {
        let link = format!("\"{}?{}\"", asset.path, asset.digest());
        assert_eq!(page.matches(&link).count(), 1, "{link}");
    }
    assert_eq!(page.matches(" style=").count(), 0);
    assert_eq!(page.matches("http:").count(), 1, "SVG's namespace alone");
}

/// WCAG 2.2, 1.4.3 and 1.4.11.
#[test]
fn texts_and_marks_are_seen_in_light_and_in_dark() {
    let css = Asset::ALL[0].text;
    let (light, dark) = css.split_once("prefers-color-scheme: dark").expect("both");
    let dark = &dark[..dark.find("* {").expect("then the rest")];
    let texts = ["text", "soft", "link", "bad", "wait", "good"];
    let marks = [
        "address", "load", "linux", "drivers", "fetch", "mount", "other",
    ];
    for (scheme, block) in [("light", light), ("dark", dark)] {
        let of = |name: &str| color(block, name);
        let texts = texts.map(|name| (name, 4.5));
        for (name, least) in texts.into_iter().chain(marks.map(|name| (name, 3.0))) {
            for ground in ["ground", "card"] {
                let contrast = contrast(of(name), of(ground));
                assert!(
                    contrast >= least,
                    "{scheme}: {name} on {ground} {contrast:.2}"
                );
            }
        }
        let lost = contrast(of("bad"), of("bad-ground"));
        assert!(lost >= 4.5, "{scheme}: bad on bad-ground {lost:.2}");
    }
}

fn color(block: &str, name: &str) -> [f64; 3] {
    let (_, rest) = block.split_once(&format!("--{name}: #")).expect(name);
    [0, 2, 4].map(|at| f64::from(u8::from_str_radix(&rest[at..at + 2], 16).expect("hexadecimal")))
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let luminance = |color: [f64; 3]| {
        let [r, g, b] = color.map(|part| {
            let part = part / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

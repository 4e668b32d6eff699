//! The pure parts of `benches/table`: medians, ratios, bars, the table itself.
//!
//! They stand here since a bench with its own main has no tests.
#![allow(dead_code, reason = "the rest is the bench's")]

#[path = "../benches/table/bars.rs"]
mod bars;
#[path = "../benches/table/pairs.rs"]
mod pairs;
#[path = "../benches/table/quick.rs"]
mod quick;
#[path = "../benches/table/table.rs"]
mod table;
#[path = "../benches/table/wanted.rs"]
mod wanted;

mod the_pairs {
    use crate::pairs::*;
    use std::cell::RefCell;

    fn reading(what: &'static str, value: f64) -> Reading {
        Reading {
            what,
            unit: "u",
            value,
        }
    }

    #[test]
    fn the_middle() {
        for (values, want) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[3.0, 1.0], Some(2.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[9.0, 1.0, 2.0, 4.0], Some(3.0)),
        ] {
            assert_eq!(median(values), want, "{values:?}");
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[7.0], 0), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn runs_alternate_and_the_first_round_is_thrown_away() {
        let order = RefCell::new(Vec::new());
        let mut values = [100.0, 1.0, 2.0, 3.0].into_iter();
        let figures = measure(
            3,
            &mut [
                Contender::new("ours", || {
                    order.borrow_mut().push('a');
                    let value = values.next().expect("four runs");
                    Ok(vec![reading("rate", value), reading("RSS", 8.0)])
                }),
                Contender::new("peer", || {
                    order.borrow_mut().push('b');
                    Ok(vec![reading("rate", 2.0)])
                }),
            ],
        );
        assert_eq!(order.into_inner().iter().collect::<String>(), "abababab");
        let figures = figures.expect("no run fails");
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[0].ours, 2.0);
        assert_eq!(figures[0].peers[0].value, 2.0);
        let Ratio { median, low, high } = figures[0].peers[0].ratio;
        assert_eq!([median, low, high], [1.0, 0.5, 1.5]);
        assert!(figures[1].peers.is_empty(), "the peer has no RSS");
    }

    /// Medians of either side would say 2/2; each round says half or twice.
    #[test]
    fn a_ratio_is_the_median_of_ratios() {
        let run = |values: [f64; 3]| values.map(|v| vec![reading("rate", v)]).to_vec();
        let figures = figures(
            &["ours", "peer"],
            &[run([1.0, 2.0, 8.0]), run([2.0, 1.0, 4.0])],
        );
        assert_eq!(figures[0].peers[0].ratio.median, 2.0);
    }

    #[test]
    fn a_failure_names_who_failed() {
        let error = measure(
            1,
            &mut [Contender::new("nginx", || anyhow::bail!("port taken"))],
        );
        let error = format!("{:#}", error.expect_err("it fails"));
        assert_eq!(error, "measuring nginx: port taken");
    }
}

mod the_bars {
    use crate::bars::*;

    #[test]
    fn a_limit_is_held_when_it_is_met() {
        for (bar, value, held) in [
            (Bar::AtMost(0.8), 0.8, true),
            (Bar::AtMost(0.8), 0.81, false),
            (Bar::AtLeast(1.2), 1.2, true),
            (Bar::AtLeast(1.2), 1.19, false),
            (Bar::AtMost(0.8), f64::NAN, false),
            (Bar::AtLeast(0.8), f64::NAN, false),
        ] {
            assert_eq!(bar.held(value), held, "{bar:?} {value}");
        }
    }

    #[test]
    fn whole_bodies_have_bars_at_4_and_64_connections() {
        for (row, what, peer, want) in [
            ("http veth 4 whole", "CPU", "nginx", Some(Bar::AtMost(0.8))),
            (
                "http loopback 64 whole",
                "CPU",
                "nginx",
                Some(Bar::AtMost(0.6)),
            ),
            ("http veth 64 whole", "CPU", "limit", Some(Bar::AtMost(1.3))),
            (
                "http loopback 4 whole",
                "rate",
                "nginx",
                Some(Bar::AtLeast(1.2)),
            ),
            ("http veth 1 whole", "CPU", "nginx", None),
            ("http veth 64 4KiB", "CPU", "nginx", None),
            ("http veth 64 whole", "rate", "limit", None),
        ] {
            assert_eq!(bar(row, what, peer), want, "{row} {what} {peer}");
        }
    }
}

mod the_wanted {
    use crate::wanted::*;

    #[test]
    fn rows_are_wanted_by_their_words() {
        for (wanted, row, holds) in [
            ("", "http veth 64 whole", true),
            ("http", "http veth 64 whole", true),
            ("64 http", "http veth 64 whole", true),
            ("6", "http veth 64 whole", false),
            ("http veth 4", "http veth 64 whole", false),
            ("tftp, veth whole", "http veth 64 whole", true),
            ("tftp, veth 1MiB", "http veth 64 whole", false),
        ] {
            assert_eq!(Wanted::parse(wanted).holds(row), holds, "{wanted:?} {row}");
        }
    }
}

mod the_table {
    use crate::pairs::{Figure, Peer, Ratio};
    use crate::table::*;

    fn row(
        name: &str,
        what: &'static str,
        unit: &'static str,
        peers: &[(&'static str, f64)],
    ) -> Row {
        let peer = |&(name, median): &(&'static str, f64)| Peer {
            name,
            value: 1.0,
            ratio: Ratio {
                median,
                low: median - 0.1,
                high: median + 0.1,
            },
        };
        let figure = Figure {
            what,
            unit,
            ours: 2.0,
            peers: peers.iter().map(peer).collect(),
        };
        Row {
            name: name.to_owned(),
            figures: vec![figure],
        }
    }

    #[test]
    fn a_line_names_both_values_and_the_bar() {
        let row = row(
            "http veth 64 whole",
            "CPU",
            "s/GB",
            &[("nginx", 0.75), ("limit", 1.5)],
        );
        assert_eq!(
            row.render(Style::Markdown),
            "| http veth 64 whole | CPU | 2.00 s/GB | 0.75 × nginx (0.65–0.85) | 1.50 × limit (1.40–1.60) \
             |  | ≤ 0.8 × nginx: held, ≤ 1.3 × limit: NOT HELD |\n"
        );
        assert_eq!(
            row.failed(),
            ["http veth 64 whole CPU: 1.50 where ≤ 1.3 × limit is the bar"]
        );
    }

    #[test]
    fn a_figure_has_a_bar_without_a_peer() {
        let row = row("http veth 1000 4KiB", "RSS", "MB", &[]);
        assert!(row.render(Style::Text).ends_with("≤ 64 MB: held\n"));
        assert!(row.failed().is_empty());
    }

    #[test]
    fn every_peer_of_a_row_stands_in_its_line() {
        let peers = [("dnsmasq", 0.6), ("tftpd-hpa", 0.4), ("async-tftp", 0.5)];
        let row = row("tftp 50 window 16", "CPU", "s/GB", &peers);
        for style in [Style::Text, Style::Markdown] {
            let line = row.render(style);
            for (name, ratio) in peers {
                assert!(line.contains(&format!("{ratio:.2} × {name} (")), "{line}");
            }
        }
        let line = row.render(Style::Markdown);
        for (name, ratio) in peers {
            assert_eq!(ratio_in(&line, &row.name, "CPU", name), Some(ratio));
        }
        let columns = |line: &str| line.matches('|').count();
        let head = Style::Markdown.head();
        assert!(
            head.lines().all(|head| columns(head) == columns(&line)),
            "{head}"
        );
    }

    #[test]
    fn ratios_are_read_back() {
        let rows = [
            row(
                "http veth 4 whole",
                "CPU",
                "s/GB",
                &[("nginx", 0.75), ("limit", 1.25)],
            ),
            row(
                "http veth 64 whole",
                "CPU",
                "s/GB",
                &[("nginx", 0.875), ("limit", 1.5)],
            ),
        ];
        let text: String = rows.iter().map(|row| row.render(Style::Markdown)).collect();
        let text = format!("# Title\n\n{}\n{text}\nEnd.\n", Style::Markdown.head());
        for (row, what, peer, want) in [
            ("http veth 4 whole", "CPU", "nginx", Some(0.75)),
            ("http veth 4 whole", "CPU", "limit", Some(1.25)),
            ("http veth 64 whole", "CPU", "limit", Some(1.5)),
            ("http veth 64 whole", "rate", "limit", None),
            ("http veth 64 whole", "CPU", "dnsmasq", None),
            ("http veth 1 whole", "CPU", "nginx", None),
        ] {
            assert_eq!(
                ratio_in(&text, row, what, peer),
                want,
                "{row} {what} {peer}"
            );
        }
    }

    #[test]
    fn digits_that_count() {
        for (value, want) in [
            (0.0123, "0.012"),
            (0.5, "0.50"),
            (9.99, "9.99"),
            (64.25, "64.2"),
            (48_000.4, "48000"),
        ] {
            assert_eq!(digits(value), want);
        }
    }
}

mod the_quick {
    use crate::pairs::{Figure, Peer, Ratio};
    use crate::quick::*;
    use crate::table::{Row, Style};
    use crate::wanted::Wanted;

    fn row(name: &str, ratio: f64) -> Row {
        let ratio = Ratio {
            median: ratio,
            low: ratio,
            high: ratio,
        };
        let figure = |what| Figure {
            what,
            unit: "s/GB",
            ours: 0.2,
            peers: vec![Peer {
                name: "nginx",
                value: 0.2,
                ratio,
            }],
        };
        Row {
            name: name.to_owned(),
            figures: vec![figure("rate"), figure("CPU"), figure("CPU both")],
        }
    }

    const CPU: &str = "2 × ours";

    /// A baseline that was measured here.
    fn ours(row: &Row) -> String {
        format!("- CPU: {CPU}\n{}", row.render(Style::Markdown))
    }

    #[test]
    fn another_make_of_processor_has_other_ratios() {
        let row_of = |ratio| row("http veth 4 whole", ratio);
        let baseline = format!("- CPU: 2 × theirs\n{}", row_of(0.8).render(Style::Markdown));
        for (cpu, now, worse) in [
            ("2 × theirs", 1.01, true),
            ("2 × ours", 1.01, false),
            ("2 × ours", 1.6, false),
            ("4 × theirs", 1.61, true),
        ] {
            let compared = compare(&[row_of(now)], &baseline, cpu).expect("a baseline");
            assert_eq!(compared[0].worse(), worse, "{cpu} {now}");
        }
    }

    #[test]
    fn a_quarter_dearer_is_too_much() {
        let baseline = ours(&row("http veth 4 whole", 0.8));
        for (now, worse) in [(0.4, false), (0.8, false), (1.0, false), (1.01, true)] {
            let compared =
                compare(&[row("http veth 4 whole", now)], &baseline, CPU).expect("a baseline");
            assert_eq!(compared.len(), 1, "CPU alone");
            assert_eq!(compared[0].worse(), worse, "{now}");
            assert_eq!(judge(&compared, 0.0).is_err(), worse, "{now}");
        }
    }

    #[test]
    fn a_busy_machine_judges_nothing() {
        let baseline = ours(&row("http veth 4 whole", 0.8));
        let compared =
            compare(&[row("http veth 4 whole", 1.2)], &baseline, CPU).expect("a baseline");
        let said = judge(&compared, 0.6).expect("not judged");
        assert!(
            said.contains("NOT JUDGED") && said.contains("0.60"),
            "{said}"
        );
        let compared =
            compare(&[row("http veth 4 whole", 0.8)], &baseline, CPU).expect("a baseline");
        let said = judge(&compared, 0.6).expect("ok");
        assert!(said.contains("ok, none of 1"), "{said}");
    }

    #[test]
    fn what_looks_worse_is_measured_again() {
        let rows = [
            "http veth 4 whole",
            "http veth 64 whole",
            "tftp 50 window 16",
        ];
        let baseline: String = rows.iter().map(|name| ours(&row(name, 0.8))).collect();
        let now = [1.2, 0.8, 1.1].iter().zip(rows);
        let now: Vec<_> = now.map(|(ratio, name)| row(name, *ratio)).collect();
        let words = worse_rows(&compare(&now, &baseline, CPU).expect("a baseline"));
        let wanted = Wanted::parse(&words);
        assert_eq!(rows.map(|name| wanted.holds(name)), [true, false, true]);
    }

    #[test]
    fn both_values_are_said_and_what_to_do() {
        let baseline = ours(&row("http veth 4 whole", 0.8));
        let compared =
            compare(&[row("http veth 4 whole", 1.2)], &baseline, CPU).expect("a baseline");
        assert_eq!(
            compared[0].line(),
            "http veth 4 whole CPU: 1.20 × nginx, baseline 0.80: WORSE"
        );
        let said = judge(&compared, 0.25).expect_err("worse").to_string();
        for part in [
            "1 of 1",
            "25 %",
            "0.25 CPUs",
            "make bench ROWS='http veth 4 whole'",
            "WRITE=1",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_has_no_baseline_is_not_passed_over() {
        let baseline = ours(&row("http veth 4 whole", 0.8));
        let error =
            compare(&[row("http veth 64 whole", 0.8)], &baseline, CPU).expect_err("no baseline");
        let error = error.to_string();
        assert!(
            error.contains("http veth 64 whole") && error.contains("WRITE=1"),
            "{error}"
        );
        compare(&[], &baseline, CPU).expect_err("nothing was compared");
    }

    #[test]
    fn each_alternative_of_the_quick_rows_is_a_row() {
        for wanted in ROWS.split(',') {
            let rows = [
                "http veth 64 4KiB",
                "http loopback 64 whole",
                "http veth 64 1MiB",
                "tftp 50 window 16",
                "dhcp proxy discover",
            ];
            let held = rows.iter().any(|row| Wanted::parse(wanted).holds(row));
            assert!(held, "{wanted}");
        }
    }
}

//! Who did what when: one thin row a machine, coloured by stage, in the order they were switched on. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::stage::{Log, Stage};

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 64.0;
const RIGHT: f64 = 20.0;

/// The timeline of a storm as a picture of its own.
#[must_use]
pub fn timeline(title: &str, logs: &[Log]) -> String {
    let mut logs: Vec<&Log> = logs.iter().collect();
    logs.sort_by_key(|log| log.on);
    let end = logs.iter().map(|log| log.off).max().unwrap_or_default();
    let end = end.as_secs_f64().max(0.001);
    let row = (800.0 / logs.len().max(1) as f64).clamp(1.0, 12.0);
    let rows = row * logs.len() as f64;
    let x = |time: Duration| LEFT + time.as_secs_f64() / end * WIDTH;
    let (width, height) = (LEFT + WIDTH + RIGHT, TOP + rows + 44.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height:.0}\" viewBox=\"0 0 {width} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    legend(&mut svg, &logs);
    axis(&mut svg, end, TOP + rows);
    for stage in Stage::ALL {
        stripes(&mut svg, stage, &logs, row, x);
    }
    failures(&mut svg, &logs, row, x);
    let middle = TOP + rows / 2.0;
    let _ = writeln!(
        svg,
        "<text transform=\"translate(16 {middle:.0}) rotate(-90)\" text-anchor=\"middle\">{} machines</text>\n</svg>",
        logs.len()
    );
    svg
}

/// One path a stage: a thousand machines are ten elements.
fn stripes(svg: &mut String, stage: Stage, logs: &[&Log], row: f64, x: impl Fn(Duration) -> f64) {
    let mut path = String::new();
    for (log, number) in logs.iter().zip(0_u32..) {
        let y = TOP + row * (f64::from(number) + 0.5);
        for span in log.spans.iter().filter(|span| span.stage == stage) {
            // What is shorter than a hair is seen all the same.
            let length = (x(span.to) - x(span.from)).max(0.5);
            let _ = write!(path, "M{:.1} {y:.1}h{length:.1}", x(span.from));
        }
    }
    if !path.is_empty() {
        let thick = if row > 3.0 { row - 1.0 } else { row };
        let colour = stage.colour();
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"{thick:.2}\" fill=\"none\"/>"
        );
    }
}

fn failures(svg: &mut String, logs: &[&Log], row: f64, x: impl Fn(Duration) -> f64) {
    for (log, number) in logs
        .iter()
        .zip(0_u32..)
        .filter(|(log, _)| log.failed.is_some())
    {
        let y = TOP + row * (f64::from(number) + 0.5);
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"red\"><title>{}</title></circle>",
            x(log.off),
            escaped(log.failed.as_deref().unwrap_or_default())
        );
    }
}

fn legend(svg: &mut String, logs: &[&Log]) {
    let mut at = LEFT;
    let seen = |stage: &Stage| logs.iter().any(|log| log.time_in(*stage).is_some());
    for stage in Stage::ALL.iter().filter(|stage| seen(stage)) {
        let (name, colour) = (stage.name(), stage.colour());
        let _ = writeln!(
            svg,
            "<rect x=\"{at:.0}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"43\">{name}</text>",
            at + 16.0
        );
        at += 34.0 + 7.0 * name.len() as f64;
    }
}

/// Some ten ticks at round numbers of seconds.
fn axis(svg: &mut String, end: f64, bottom: f64) {
    let step = step(end);
    let mut second = 0.0;
    while second <= end {
        let at = LEFT + second / end * WIDTH;
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#ccc\" stroke-width=\"0.5\"/><text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            bottom + 5.0,
            bottom + 19.0,
            (second * 1000.0).round() / 1000.0
        );
        second += step;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">seconds</text>",
        LEFT + WIDTH,
        bottom + 36.0
    );
}

/// 1, 2 or 5 times a power of ten.
fn step(end: f64) -> f64 {
    let rough = end / 10.0;
    let power = 10_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let fits = times.into_iter().find(|times| times * power >= rough);
    fits.unwrap_or(10.0) * power
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Span;

    #[test]
    fn a_row_for_each_machine_and_a_path_for_each_stage() {
        let seconds = Duration::from_secs;
        let log = |on, failed: Option<&str>| Log {
            on: seconds(on),
            off: seconds(10),
            spans: vec![Span {
                stage: Stage::Image,
                from: seconds(5),
                to: seconds(10),
            }],
            failed: failed.map(str::to_owned),
            ..Log::default()
        };
        let svg = timeline("2 < 3", &[log(1, None), log(0, Some("a & b"))]);
        assert!(svg.contains("2 &lt; 3"));
        // Rows of 12: the one that was switched on first is above.
        assert!(svg.contains("M650.0 70.0h600.0M650.0 82.0h600.0"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.contains("<title>a &amp; b</title>"));
        assert!(svg.ends_with("</svg>\n"));
        assert!(timeline("none", &[]).ends_with("</svg>\n"));
    }

    #[test]
    fn ticks_are_round() {
        for (end, want) in [(10.0, 1.0), (17.0, 2.0), (300.0, 50.0), (0.9, 0.1)] {
            assert!((step(end) - want).abs() < 1e-9, "{end}: {}", step(end));
        }
    }
}

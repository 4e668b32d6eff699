//! A map of an image's chunks as an SVG: which boots read, and when. Pure.
//!
//! One file without outside resources, on no ground of its own: its colours, also that of what is written, stand out from a white
//! page and from a black one alike.

use std::fmt::Write as _;

use ramboot_wire::profile::{Profile, Want};

/// What a square is shown as: the first that is true of any chunk in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Hot,
    Warm,
    Cold,
}

impl Class {
    const ALL: [Self; 3] = [Self::Hot, Self::Warm, Self::Cold];

    const fn of(want: Want) -> Self {
        match want {
            Want::Hot(_) => Self::Hot,
            Want::Warm(_) => Self::Warm,
            Want::Cold => Self::Cold,
        }
    }

    const fn faint(self) -> &'static str {
        match self {
            Self::Hot | Self::Warm => "",
            Self::Cold => " opacity=\"0.4\"",
        }
    }

    const fn legend(self) -> &'static str {
        match self {
            Self::Hot => "hot: read before the network was up",
            Self::Warm => "warm: read later in the boot",
            Self::Cold => "not read by any boot that is known",
        }
    }
}

/// The map, under a title; the first chunk is at the upper left, rows go to the right.
#[must_use]
pub fn map(title: &str, profile: &Profile) -> String {
    let wants = profile.wants();
    let together = wants.len().div_ceil(COLUMNS * ROWS).max(1);
    let squares: Vec<Class> = wants
        .chunks(together)
        .map(|some| {
            some.iter()
                .copied()
                .map(Class::of)
                .min()
                .unwrap_or(Class::Cold)
        })
        .collect();
    let rows = squares.len().div_ceil(COLUMNS);
    let (width, height) = (2 * LEFT + COLUMNS * STEP, TOP + rows * STEP + LEFT);
    let title = escaped(title);
    let each = match together {
        1 => "one square is one chunk of 256 KiB".to_owned(),
        several => format!("one square is {several} chunks of 256 KiB, shown as its hottest"),
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n<title>{title}</title>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    legend(&mut svg);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"66\">{each}</text>");
    for class in Class::ALL {
        let path = path(&squares, class);
        if !path.is_empty() {
            let (colour, faint) = (COLOURS[class as usize], class.faint());
            let _ = writeln!(
                svg,
                "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"{SIDE}\"{faint}/>"
            );
        }
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    let mut at = LEFT;
    for class in Class::ALL {
        let (colour, faint, text) = (COLOURS[class as usize], class.faint(), class.legend());
        let _ = writeln!(
            svg,
            "<rect x=\"{at}\" y=\"34\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"{colour}\"{faint}/><text x=\"{}\" y=\"43\">{text}</text>",
            at + STEP + 4
        );
        at += 2 * LEFT + 7 * text.len();
    }
}

/// All squares of one class: a dash each, so that an image of any size is three elements.
fn path(squares: &[Class], class: Class) -> String {
    let mut path = String::new();
    for (number, _) in squares.iter().enumerate().filter(|(_, of)| **of == class) {
        let x = LEFT + number % COLUMNS * STEP;
        let y = TOP + number / COLUMNS * STEP + SIDE / 2;
        let _ = write!(path, "M{x} {y}h{SIDE}");
    }
    path
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Colours, by [`Class`].
const COLOURS: [&str; 3] = ["#e0452c", "#e8a020", "#8a93a0"];
/// Of what is written: 4.5 to 1 against white, and nearly so against black.
const INK: &str = "#777";
const COLUMNS: usize = 64;
/// More rows than that would be a poster: a square stands for several chunks then.
const ROWS: usize = 48;
/// Of a square, with the gap to the next.
const STEP: usize = 12;
const SIDE: usize = 10;
const LEFT: usize = 16;
const TOP: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;

    fn dashes(svg: &str, colour: &str) -> usize {
        let mut lines = svg.lines();
        let path = lines.find(|line| line.starts_with("<path") && line.contains(colour));
        path.map_or(0, |path| path.matches('M').count())
    }

    fn counts(wants: Vec<Want>) -> [usize; 3] {
        let svg = map("a < b", &Profile::new(wants));
        assert!(
            svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert!(svg.contains("<title>a &lt; b</title>"), "{svg}");
        assert_eq!(svg.matches("://").count(), 1, "the name space alone: {svg}");
        COLOURS.map(|colour| dashes(&svg, colour))
    }

    #[test]
    fn each_chunk_is_a_square_of_its_colour() {
        let wants = vec![
            Want::Hot(0),
            Want::Cold,
            Want::Warm(1),
            Want::Hot(9),
            Want::Cold,
        ];
        assert_eq!(counts(wants), [2, 1, 2]);
        assert_eq!(
            counts(vec![Want::Cold; COLUMNS * ROWS]),
            [0, 0, COLUMNS * ROWS]
        );
    }

    #[test]
    fn a_large_image_is_no_larger_picture() {
        let mut wants = vec![Want::Cold; 262_144];
        for (index, want) in [
            (0, Want::Warm(0)),
            (1, Want::Hot(0)),
            (200_000, Want::Warm(0)),
        ] {
            wants[index] = want;
        }
        let [hot, warm, cold] = counts(wants);
        assert_eq!((hot, warm), (1, 1));
        assert!((COLUMNS * ROWS - COLUMNS..=COLUMNS * ROWS).contains(&(hot + warm + cold)));
    }
}

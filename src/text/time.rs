//! Times as people read them. Pure.

use time::OffsetDateTime;

/// Seconds since 1970 as `2026-11-24 04:50`, UTC; a dash where the publisher had no clock.
#[must_use]
pub fn minute(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().filter(|&seconds| seconds > 0);
    let Some(time) = time.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
    else {
        return "-".to_owned();
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute()
    )
}

/// How long before `now` that was, in the largest unit of which there are two; a dash for what one of both clocks cannot know.
#[must_use]
pub fn age(seconds: u64, now: u64) -> String {
    match now.checked_sub(seconds).filter(|_| seconds > 0) {
        Some(ago) => span(ago),
        None => "-".to_owned(),
    }
}

/// Seconds in the largest unit of which there are two.
#[must_use]
pub fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, unit) = unit.unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_those_of_date_1() {
        // date --utc --date=@N '+%F %H:%M'
        for (seconds, want) in [
            (0, "-"),
            (59, "1970-01-01 00:00"),
            (951_782_400, "2000-02-29 00:00"),
            (1_795_495_859, "2026-11-24 04:50"),
            (4_107_542_399, "2100-02-28 23:59"),
            (u64::MAX, "-"),
        ] {
            assert_eq!(minute(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn ages_are_short() {
        let now = 1_795_495_859;
        for (ago, want) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
            (400 * 86_400, "400 d"),
            (now, "-"),
        ] {
            assert_eq!(age(now - ago, now), want, "{ago}");
        }
        assert_eq!(age(now + 1, now), "-", "a clock that went back");
    }
}

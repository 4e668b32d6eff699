//! Numbers as people read them, where both sides print them.

/// `62 of 139 MB`, and where a megabyte says too little, `0.3 of 0.9 MB`; `139 MB` if all of it is there.
#[must_use]
pub fn megabytes(done: u64, total: u64) -> String {
    let number = |bytes: u64| {
        if total >= 10_000_000 {
            format!("{}", bytes / 1_000_000)
        } else {
            format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
        }
    };
    if done == total {
        format!("{} MB", number(total))
    } else {
        format!("{} of {} MB", number(done), number(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_have_megabytes_too() {
        for (done, total, want) in [
            (62_000_000, 139_000_000, "62 of 139 MB"),
            (139_000_000, 139_000_000, "139 MB"),
            (300_000, 900_000, "0.3 of 0.9 MB"),
            (0, 0, "0.0 MB"),
        ] {
            assert_eq!(megabytes(done, total), want);
        }
    }
}

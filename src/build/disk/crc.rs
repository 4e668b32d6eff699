//! The two checksums of disks: CRC-32 of partition tables (UEFI 2.10 §5.3.2) and CRC-32C of ext4.
//!
//! Reflected, a byte at a time, without the inversions at both ends: ext4 has only the first of them.

/// Of a polynomial, by the lowest byte.
type Table = [u32; 256];

const CRC32: Table = table(0xedb8_8320);
const CRC32C: Table = table(0x82f6_3b78);

/// As GPT has it.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !update(&CRC32, !0, bytes)
}

/// As ext4 has it: of `bytes` after what gave `crc`; the first gets `!0`.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    update(&CRC32C, crc, bytes)
}

fn update(table: &Table, crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        table[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

const fn table(polynomial: u32) -> Table {
    let mut table = [0; 256];
    let mut index = 0;
    let mut byte: u32 = 0;
    while index < table.len() {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (polynomial * (crc & 1));
            bit += 1;
        }
        table[index] = crc;
        index += 1;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_give_what_their_catalogue_says() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }
}

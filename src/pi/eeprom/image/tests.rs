use super::*;
use proptest::prelude::*;

/// Builds images as they are laid out: code first, then files in sectors of their own, ones at the end.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    chip: Chip,
    bytes: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(chip: Chip) -> Self {
        let bytes = Vec::new();
        let code: Vec<u8> = (0..70_000_u32)
            .map(|i| ((i * 7) >> 3).to_le_bytes()[0])
            .collect();
        Self { chip, bytes }.section(MAGIC, &code)
    }

    fn section(mut self, magic: u32, content: &[u8]) -> Self {
        let len = u32::try_from(content.len()).expect("small");
        self.bytes.extend(magic.to_be_bytes());
        self.bytes.extend(len.to_be_bytes());
        self.bytes.extend(content);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(8), 0xff);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        let mut named = [0; NAME + 4];
        named[..name.len()].copy_from_slice(name.as_bytes());
        self.section(FILE, &[&named, content].concat())
    }

    /// Fills the sector.
    fn pad(self) -> Self {
        let len = self.bytes.len() + HEAD;
        let padding = vec![0xff; len.next_multiple_of(SECTOR) - len];
        self.section(PADDING, &padding)
    }

    /// As rpi-eeprom-config leaves it behind a last file that had padding.
    fn pad_to_end(self) -> Self {
        let len = room(self.chip).end - self.bytes.len() - HEAD;
        self.section(PADDING, &vec![0xff; len])
    }

    pub(crate) fn build(mut self) -> Vec<u8> {
        assert!(self.bytes.len() <= self.chip.bytes() - SECTOR, "no room");
        self.bytes.resize(self.chip.bytes(), 0xff);
        self.bytes
    }

    fn parse(self) -> Image {
        Image::parse(self.build()).expect("an image")
    }
}

const SETTINGS: &[u8] = b"[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n";
const OTHER: &[u8] = b"[all]\nBOOT_UART=1\nBOOT_ORDER=0xf2\nNET_BOOT_MAX_RETRIES=-1\n";

/// The layout of images since 2021: the settings come last.
pub(crate) fn usual(chip: Chip, settings: &[u8]) -> Vec<u8> {
    with_files(chip).file(CONF, settings).build()
}

fn with_files(chip: Chip) -> Builder {
    let code = Builder::new(chip).file("logo.bin", &[7; 9000]).pad();
    let key = code.file("pubkey.bin", b"").pad();
    key.file(SIGNATURE, b"").pad()
}

/// Where two of the same length differ, as runs.
fn differences(a: &[u8], b: &[u8]) -> Vec<Range<usize>> {
    assert_eq!(a.len(), b.len());
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..a.len()).filter(|&at| a[at] != b[at]) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[test]
fn the_settings_are_replaced_and_nothing_else() {
    for chip in Chip::ALL {
        let last = with_files(chip).file(CONF, SETTINGS);
        let middle = with_files(chip)
            .file(CONF, SETTINGS)
            .pad()
            .file("cacert.der", &[9; 800])
            .pad();
        let padded_last = with_files(chip).file(CONF, SETTINGS).pad_to_end();
        let first = Builder::new(chip).pad().file(CONF, SETTINGS).pad();
        let before_code = first.section(MAGIC | 0x110, &[3; 20_000]);
        let zeros = {
            let mut bytes = last.clone().build();
            let end = last.bytes.len();
            bytes[end.next_multiple_of(SECTOR)..chip.bytes() - SECTOR].fill(0);
            bytes
        };
        for (name, bytes) in [
            ("last", last.build()),
            ("in the middle", middle.build()),
            ("last, with padding", padded_last.build()),
            ("before code", before_code.build()),
            ("zeros behind", zeros),
        ] {
            let image = Image::parse(bytes.clone()).expect(name);
            assert_eq!((image.chip(), image.conf()), (chip, SETTINGS), "{name}");
            let written = image.with_conf(OTHER).expect(name);
            assert_eq!(written.conf(), OTHER, "{name}");
            let offset = image.sections[image.conf].offset;
            let sector = offset..(offset + 1).next_multiple_of(SECTOR);
            for run in differences(&bytes, written.bytes()) {
                assert!(
                    sector.start <= run.start && run.end <= sector.end,
                    "{name}: {run:x?}"
                );
            }
            assert_eq!(written.files().count(), image.files().count(), "{name}");
            // As Raspberry Pi's own tests have it: there and back is where one was.
            let back = written.with_conf(SETTINGS).expect(name);
            assert!(differences(&bytes, back.bytes()).is_empty(), "{name}");
        }
    }
}

/// The bytes that rpi-eeprom-config writes, worked out by hand from its source.
#[test]
fn what_stands_in_the_sector() {
    let text = b"[all]\nBOOT_ORDER=0xf2\n";
    let middle = Builder::new(Chip::Bcm2711)
        .pad()
        .file(CONF, SETTINGS)
        .pad()
        .file("cacert.der", b"ca");
    let image = middle.parse();
    let offset = image.sections[image.conf].offset;
    assert_eq!(offset % SECTOR, 0);
    let written = image.with_conf(text).expect("written");
    let sector = &written.bytes()[offset..offset + SECTOR];
    let head = b"\x55\xaa\xf1\x1f\0\0\0\x26bootconf.txt\0\0\0\0";
    assert_eq!(&sector[..24], head);
    assert_eq!(&sector[24..46], text);
    assert_eq!(&sector[46..48], b"\xff\xff");
    assert_eq!(&sector[48..56], b"\x55\xaa\xfe\xef\0\0\x0f\xc8");
    assert_eq!(sector[56..], [0xff; SECTOR - 56]);
    let last = Builder::new(Chip::Bcm2711).pad().file(CONF, &[b'x'; 500]);
    let written = last.parse().with_conf(text).expect("written");
    let sector = &written.bytes()[offset..offset + SECTOR];
    assert_eq!(&sector[..24], head);
    assert_eq!(&sector[24..46], text);
    assert_eq!(sector[46..], [0xff; SECTOR - 46]);
}

#[test]
fn settings_fit_or_are_refused() {
    let middle = with_files(Chip::Bcm2711).file(CONF, SETTINGS).pad();
    let middle = middle.file("cacert.der", b"").parse();
    let last = with_files(Chip::Bcm2712).file(CONF, SETTINGS).parse();
    for image in [&middle, &last] {
        for len in [0, 1, 2024, MAX_CONF - 9, MAX_CONF - 1, MAX_CONF] {
            let conf = vec![b'x'; len];
            let written = image.with_conf(&conf).expect("fits");
            assert_eq!(written.conf(), conf, "{len}");
            let names =
                |image: &Image| image.files().map(|f| f.name.to_owned()).collect::<Vec<_>>();
            assert_eq!(names(&written), names(image), "{len}");
        }
        let refused = image.with_conf(&vec![b'x'; MAX_CONF + 1]);
        let want = BadImage::TooLong {
            bytes: 4057,
            room: 4056,
        };
        assert_eq!(refused.expect_err("too long"), want);
    }
    // Two sections in one sector, as nobody has seen them: the second one stays.
    let tight = Builder::new(Chip::Bcm2711)
        .file(CONF, SETTINGS)
        .file("x", b"y");
    let refused = tight.parse().with_conf(&[b'x'; 40]);
    let want = "the settings have 40 bytes, and 24 are possible in this image";
    assert_eq!(refused.expect_err("no room").to_string(), want);
}

#[test]
fn one_row_per_refusal() {
    let good = usual(Chip::Bcm2711, SETTINGS);
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Image::parse(bytes).expect_err("refused").to_string()
    };
    let conf = Image::parse(good.clone()).expect("an image").sections;
    let conf = conf.last().expect("the settings").offset;
    assert_eq!(conf, 0x16000);
    for (found, want) in [
        (
            broken(&|bytes| bytes.truncate(300_000)),
            "it has 300000 bytes; an image of a bootloader's EEPROM has 524288 (BCM2711: Pi 4B, 400, CM4) or 2097152 (BCM2712: Pi 5, 500, CM5)",
        ),
        (
            broken(&|bytes| bytes.clear()),
            "it has 0 bytes; an image of a bootloader's EEPROM has 524288 (BCM2711: Pi 4B, 400, CM4) or 2097152 (BCM2712: Pi 5, 500, CM5)",
        ),
        (
            broken(&|bytes| bytes[0] = 0x7f),
            "at offset 0x0 stands 0x7faaf00f and not 0x55aaf..f, with which a section begins: it is no image, or damaged",
        ),
        (
            broken(&|bytes| bytes.fill(0xff)),
            "at offset 0x0 stands 0xffffffff and not 0x55aaf..f, with which a section begins: it is no image, or damaged",
        ),
        (
            broken(&|bytes| bytes[conf + 3] = 0),
            "at offset 0x16000 stands 0x55aaf100 and not 0x55aaf..f, with which a section begins: it is no image, or damaged",
        ),
        (
            broken(&|bytes| bytes[conf + 4..conf + 8].fill(0xff)),
            "the section at offset 0x16000 says it has 4294967295 bytes, and 434168 are left: it is no image, or damaged",
        ),
        (
            broken(&|bytes| bytes[conf + 4..conf + 8].copy_from_slice(&434_169_u32.to_be_bytes())),
            "the section at offset 0x16000 says it has 434169 bytes, and 434168 are left: it is no image, or damaged",
        ),
        (
            broken(&|bytes| bytes[conf + 4..conf + 8].copy_from_slice(&15_u32.to_be_bytes())),
            "the file at offset 0x16000 says it has 15 bytes, and its name alone has 16: it is no image, or damaged",
        ),
        (
            broken(&|bytes| bytes[conf + 8] = b'B'),
            "there is no bootconf.txt among its 8 sections",
        ),
    ] {
        assert_eq!(found, want);
    }
    let two = with_files(Chip::Bcm2712).file(CONF, SETTINGS).pad();
    let two = two.file(CONF, OTHER).build();
    let want = "there are two bootconf.txt in it, at offsets 0x16000 and 0x17000: which one counts is not known";
    assert_eq!(Image::parse(two).expect_err("two").to_string(), want);
}

#[test]
fn signed_settings_stay_as_they_are() {
    for (signature, signed) in [
        (&b""[..], false),
        (&[0xff; 100], false),
        (b"0a1b\nts: 1700000000\n", false),
        (b"0a1b\nts: 1700000000\nrsa2048: 0a1b\n", true),
    ] {
        let code = Builder::new(Chip::Bcm2711).pad();
        let image = code.file(SIGNATURE, signature).pad().file(CONF, SETTINGS);
        let image = image.parse();
        assert_eq!(image.is_signed(), signed);
        let written = image.with_conf(OTHER);
        assert_eq!(written.err(), signed.then_some(BadImage::Signed));
    }
}

/// As they are since 2025, and with a second partition, as a dump of an EEPROM has it.
#[test]
fn only_the_first_of_two_partitions_is_changed() {
    const TIMES: &[u8] = b"\xff\x0c\xaf\x9a\x00\xf3\x50\x65";
    let partition = |builder: Builder| {
        let system = builder.file("bootsys", &[5; 90_000]).pad();
        let time = system.file(TIME, TIMES).pad();
        time.file(SIGNATURE, b"").pad().file(CONF, SETTINGS)
    };
    let mut builder = Builder::new(Chip::Bcm2712);
    // 64 KiB that stay: less code, and a time of their own.
    builder.bytes.clear();
    let stays = builder.section(MAGIC, &[3; 50_000]).pad().file(TIME, TIMES);
    let len = FIRST_PARTITION.start - stays.bytes.len() - HEAD;
    let stays = stays.section(PADDING, &vec![0xff; len]);
    assert_eq!(stays.bytes.len(), FIRST_PARTITION.start);
    let first = partition(stays);
    let mut both = first.clone();
    both.bytes.resize(FIRST_PARTITION.end, 0xff);
    let both = partition(both);
    for (name, builder) in [("one", first), ("both", both)] {
        let bytes = builder.build();
        let image = Image::parse(bytes.clone()).expect(name);
        assert_eq!(
            (image.conf(), image.updated()),
            (SETTINGS, Some(0x6550_f300)),
            "{name}"
        );
        let written = image.with_conf(OTHER).expect(name);
        assert_eq!(
            (written.conf(), written.updated()),
            (OTHER, image.updated()),
            "{name}"
        );
        let offset = image.sections[image.conf].offset;
        assert!(FIRST_PARTITION.contains(&offset), "{name}");
        for run in differences(&bytes, written.bytes()) {
            assert!(
                offset <= run.start && run.end <= offset + SECTOR,
                "{name}: {run:x?}"
            );
        }
        let back = written.with_conf(SETTINGS).expect(name);
        assert!(differences(&bytes, back.bytes()).is_empty(), "{name}");
    }
    // Only what stays has settings: nobody would read them there.
    let mut builder = Builder::new(Chip::Bcm2712);
    builder.bytes.clear();
    let stays = builder
        .section(MAGIC, &[3; 50_000])
        .pad()
        .file(CONF, SETTINGS);
    let want = BadImage::NoConf(3);
    assert_eq!(Image::parse(stays.build()).expect_err("none"), want);
}

#[test]
fn the_time_of_an_update_is_read_and_kept() {
    let mut bytes = usual(Chip::Bcm2711, SETTINGS);
    assert_eq!(
        Image::parse(bytes.clone()).expect("an image").updated(),
        None
    );
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&1_700_000_000_u32.to_le_bytes());
    bytes[end - 8..end - 4].copy_from_slice(&(!1_700_000_000_u32).to_le_bytes());
    let image = Image::parse(bytes).expect("an image");
    let written = image.with_conf(OTHER).expect("written");
    assert_eq!(
        (image.updated(), written.updated()),
        (Some(1_700_000_000), Some(1_700_000_000))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Heads anywhere in the chain say anything.
    #[test]
    fn damage_is_an_error_or_an_image(
        at in 0_usize..0x19000,
        damage in prop::collection::vec(any::<u8>(), 1..40),
        conf in prop::collection::vec(any::<u8>(), 0..4100),
    ) {
        let mut bytes = usual(Chip::Bcm2711, SETTINGS);
        bytes[at..at + damage.len()].copy_from_slice(&damage);
        if let Ok(image) = Image::parse(bytes.clone()) {
            prop_assert!(image.files().count() > 0);
            if let Ok(written) = image.with_conf(&conf) {
                prop_assert_eq!(written.conf(), &conf[..]);
                prop_assert_eq!(written.bytes().len(), bytes.len());
            }
        }
    }

    #[test]
    fn heads_without_sense(heads in prop::collection::vec((0_u32..16, any::<u32>(), any::<bool>()), 1..60)) {
        let mut bytes = vec![0; Chip::Bcm2711.bytes()];
        let mut offset = 0;
        for (kind, len, short) in heads {
            let len = if short { len % 5000 } else { len };
            let magic = [MAGIC, PADDING, FILE, 0][usize::try_from(kind % 4).expect("small")];
            bytes[offset..offset + 4].copy_from_slice(&magic.to_be_bytes());
            bytes[offset + 4..offset + 8].copy_from_slice(&len.to_be_bytes());
            if kind > 8 {
                bytes[offset + 8..offset + 20].copy_from_slice(CONF.as_bytes());
            }
            offset = offset.saturating_add(8 + usize::try_from(len).expect("fits")).next_multiple_of(8);
            if offset + 24 > bytes.len() {
                break;
            }
        }
        if let Ok(image) = Image::parse(bytes) {
            let _ = image.with_conf(OTHER);
            let _ = (image.is_signed(), image.updated(), image.files().count());
        }
    }
}

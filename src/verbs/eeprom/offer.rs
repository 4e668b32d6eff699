//! `ramboot eeprom offer`, `withdraw` and `offers`: a shell over the folder of offers.

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::args::{OfferArgs, OffersArgs, Serial, WithdrawArgs};
use super::{boots_from, now, order_of, read_image, settings, warnings, with_conf};
use crate::pi::eeprom::chip::Chip;
use crate::pi::eeprom::conf::Conf;
use crate::pi::eeprom::image::Image;
use crate::pi::eeprom::offers::{Offer, Offers};
use crate::pi::eeprom::sig::Sig;
use crate::text::table::{Column, Row, render};
use crate::text::time;
use crate::verbs::images::say;

/// What boards are offered; with `--json`, as it is printed.
#[derive(Debug, Serialize)]
struct Offered {
    offers: Vec<Line>,
}

/// What one is.
#[derive(Debug, Serialize)]
struct Line {
    serial: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum What {
    Sound {
        chip: Chip,
        sha256: String,
        /// Seconds since 1970.
        offered: u64,
        boot_order: Option<String>,
    },
    Damaged {
        damaged: String,
    },
}

pub(super) fn offer(args: &OfferArgs) -> anyhow::Result<()> {
    let image = read_image(&args.image)?;
    let image = if args.as_is {
        image
    } else {
        let conf = settings(args.conf.as_deref())?;
        with_conf(&image, &conf, &args.image)?
    };
    let conf = Conf::parse(image.conf())
        .with_context(|| format!("the settings in {}", args.image.display()))?;
    ensure!(
        args.force || conf.has_network(),
        "with these settings ({}) a board never boots from the network again, and somebody would have to go there: take others, or say --force",
        boots_from(conf.orders().last())
    );
    let offers = Offers::of(&args.state.path);
    let mut lines = Vec::new();
    for Serial(serial) in &args.serial {
        let sig = offers.put(*serial, &image, now())?;
        lines.push(Line {
            serial: format!("{serial:08x}"),
            what: sound(image.chip(), sig, order_of(&conf)),
        });
    }
    let done = Offered { offers: lines };
    say(&done, args.json, || {
        let serials: Vec<&str> = done
            .offers
            .iter()
            .map(|line| line.serial.as_str())
            .collect();
        let chip = image.chip();
        format!(
            "offered to {}: an image for {chip} ({})\n  boots from  {}\n{}next: start the board from the network, and do not take its power away while it writes\n",
            serials.join(", "),
            chip.boards(),
            boots_from(conf.orders().last()),
            warnings(&conf)
        )
    })
}

/// What was taken back; with `--json`, as it is printed.
#[derive(Debug, Serialize)]
struct Withdrawn {
    withdrawn: Vec<String>,
}

pub(super) fn withdraw(args: &WithdrawArgs) -> anyhow::Result<()> {
    let offers = Offers::of(&args.state.path);
    let mut withdrawn = Vec::new();
    let mut unknown = Vec::new();
    for Serial(serial) in &args.serial {
        let list = match offers.withdraw(*serial)? {
            true => &mut withdrawn,
            false => &mut unknown,
        };
        list.push(format!("{serial:08x}"));
    }
    if !unknown.is_empty() {
        let state = args.state.path.display();
        let all: Vec<String> = offers.list()?.keys().map(|s| format!("{s:08x}")).collect();
        let others = match all.as_slice() {
            [] => "and to no other board".to_owned(),
            all => format!("only to {}", all.join(", ")),
        };
        bail!(
            "nothing is offered to {} in {state}, {others}",
            unknown.join(", ")
        );
    }
    let done = Withdrawn { withdrawn };
    say(&done, args.json, || {
        format!(
            "withdrawn from {}: a board that has it keeps it\n",
            done.withdrawn.join(", ")
        )
    })
}

pub(super) fn offers(args: &OffersArgs) -> anyhow::Result<()> {
    let offers = Offers::of(&args.state.path).list()?;
    let line = |(serial, offer): (u32, anyhow::Result<Offer>)| Line {
        serial: format!("{serial:08x}"),
        what: match offer.and_then(look) {
            Ok(what) => what,
            Err(error) => What::Damaged {
                damaged: format!("{error:#}"),
            },
        },
    };
    let listing = Offered {
        offers: offers.into_iter().map(line).collect(),
    };
    say(&listing, args.json, || listing_text(&listing, now()))
}

fn look(offer: Offer) -> anyhow::Result<What> {
    let image = offer.read()?;
    let Offer { chip, sig, .. } = offer;
    ensure!(
        Sig::of(&image, sig.time) == sig,
        "pieeprom.upd is not what pieeprom.sig says: offer it again"
    );
    let image = Image::parse(image.to_vec())?;
    let order = Conf::parse(image.conf()).ok().as_ref().and_then(order_of);
    Ok(sound(chip, sig, order))
}

fn sound(chip: Chip, sig: Sig, boot_order: Option<String>) -> What {
    What::Sound {
        chip,
        sha256: sig.sha256,
        offered: sig.time,
        boot_order,
    }
}

fn listing_text(listing: &Offered, now: u64) -> String {
    if listing.offers.is_empty() {
        return "no board is offered a bootloader\n".to_owned();
    }
    let column = |head| Column { head, right: false };
    let columns = ["SERIAL", "CHIP", "BOOT_ORDER", "OFFERED", "AGO", "SHA256"].map(column);
    let rows: Vec<Row> = listing
        .offers
        .iter()
        .map(|Line { serial, what }| match what {
            What::Sound {
                chip,
                sha256,
                offered,
                boot_order,
            } => Row::Cells(vec![
                serial.clone(),
                chip.to_string(),
                boot_order.clone().unwrap_or_else(|| "-".to_owned()),
                time::minute(*offered),
                time::age(*offered, now),
                sha256.chars().take(12).collect(),
            ]),
            What::Damaged { damaged } => {
                Row::Sentence(vec![serial.clone()], format!("damaged: {damaged}"))
            }
        })
        .collect();
    render(&columns, &rows)
}

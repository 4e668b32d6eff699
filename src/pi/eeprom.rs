//! `ramboot eeprom`: a Raspberry Pi's bootloader learns to boot from the network, and keeps it.
//!
//! [`order`], [`conf`], [`image`] and [`steps`] decide and word, values in and values out. [`offers`] is the folder of images
//! that single boards are offered; [`crate::pi::eeprom::update`] hands them out. The VL805, the USB chip of early Pi 4B, has a
//! firmware of its own, which is left alone.

pub mod chip;
pub mod conf;
pub mod image;
pub mod offers;
pub mod order;
pub mod sig;
pub mod steps;
pub mod update;

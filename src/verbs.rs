//! The subcommands: one room each, with what it reads, decides and prints.

pub mod build;
pub mod doctor;
pub mod eeprom;
pub mod images;
pub mod nodes;
pub mod publish;

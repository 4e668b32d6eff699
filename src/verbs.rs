//! The subcommands: one room each, with what it reads, decides and prints.

pub mod eeprom;

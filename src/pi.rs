//! Raspberry Pis: what their firmware asks for by TFTP, made from an image and the rules for one machine.
//!
//! A Pi wants a folder of forty files named after its serial number. There is none on the disk: [`folder`] takes each path
//! apart and answers from [`files`], which an image's publisher collected, and from [`config_txt`], which is written for
//! one machine. [`board`] says which boards an image can boot at all,
//! [`id`] what a Pi says of itself in DHCP, and [`boards_seen`] who said it.

pub mod board;
pub mod boards_seen;
pub mod choice;
pub mod config_txt;
pub mod eeprom;
pub mod files;
pub mod folder;
pub mod id;

//! How numbers, sizes, times, columns and templates become text. Pure.

pub mod hex;
pub mod table;
pub mod template;
pub mod time;
pub mod words;

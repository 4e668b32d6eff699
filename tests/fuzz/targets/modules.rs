//! What depmod is said to have written, and the table made of it, which /init must be able to read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ramboot::publish::modules::index::{Index, Texts};
use ramboot::publish::modules::plan;
use ramboot_wire::ModuleTable;

fuzz_target!(|text: &str| {
    let _ = ModuleTable::parse(text);
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let texts = Texts {
        dep: next(),
        builtin: next(),
        softdep: next(),
        alias: next(),
    };
    if let Ok(plan) = Index::parse(&texts).and_then(|index| plan(&index, ramboot::publish::modules::Policy::All)) {
        ModuleTable::parse(&plan.table.to_string()).expect("what is written is read back");
    }
});

//! Everything else that is text from outside: config, kernel command line, URL path, Range, stage line, a boot's recording, words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ramboot::config::Config;
use ramboot::http::range;
use ramboot::store::Name;
use ramboot_wire::paths::Resource;
use ramboot_wire::{Base, BootArgs, Gate, ImageId, Mac, Overlay, Recording, Stage, StageLine, plain};

fuzz_target!(|text: &str| {
    let _ = Config::parse(text);
    let _ = range::parse(text, 1_000_000);
    if let Ok(args) = BootArgs::parse(text) {
        let _ = args.render("");
    }
    if let Some(resource) = Resource::parse(text) {
        assert_eq!(Resource::parse(&resource.path()), Some(resource));
    }
    if let Some(line) = StageLine::parse(text) {
        let _ = StageLine::parse(&line.to_string());
    }
    // A report's keys, facts and errors are logged: one line, whatever is in them.
    let line = StageLine {
        stage: Stage::Early,
        error: Some(text.to_owned()),
        facts: vec![(text.to_owned(), text.to_owned())],
        ms: 0,
    };
    let line = line.to_string();
    assert_eq!(plain::line(&line, usize::MAX), line);
    assert!(StageLine::parse(&line).is_some_and(|line| line.facts.len() == 1));
    let _ = (
        text.parse::<Base>(),
        text.parse::<ImageId>(),
        text.parse::<Mac>(),
    );
    let _ = (text.parse::<Overlay>(), text.parse::<Name>());
    let _ = text.parse::<Gate>();
    if let Ok(recording) = serde_json::from_str::<Recording>(text) {
        let _ = recording.check(1 << 30);
    }
});

//! Man pages: one of each command (section 1), and one of the config file (section 5).

use std::io::Write;

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::reference::{everything, variables};
use crate::sample::{Need, Section};

/// File name and content.
pub(crate) type Page = (String, Vec<u8>);

/// All pages; `date` as in 2026-01-31.
pub(crate) fn all(command: &Command, sections: &[Section], date: &str) -> Result<Vec<Page>> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let version = command.get_version().unwrap_or_default().to_owned();
    let mut pages = vec![of_program(&command, &version, date)?];
    for (_, one) in everything(&command) {
        pages.push(of_command(one, &version, date)?);
    }
    pages.push(of_config(sections, &version, date)?);
    Ok(pages)
}

fn man(command: &Command, version: &str, date: &str) -> Man {
    Man::new(command.clone())
        .source(format!("ramboot {version}"))
        .manual("ramboot")
        .date(date)
}

fn of_program(command: &Command, version: &str, date: &str) -> Result<Page> {
    let man = man(command, version, date);
    let mut page = head(&man)?;
    options(&man, &mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(
        "0 if all went well, 1 if not, 2 if the command line cannot be understood.",
    )]);
    roff.control("SH", ["ENVIRONMENT"]);
    for variable in variables(command) {
        roff.control("TP", []);
        roff.text([bold(variable.name)]);
        let readers = variable.commands.join(", ");
        roff.text([roman(format!(
            "{} The same as {}; read by: {readers}.",
            variable.help, variable.flag
        ))]);
    }
    roff.control("SH", ["FILES"]);
    for (path, text) in FILES {
        roff.control("TP", []);
        roff.text([italic(path)]);
        roff.text([roman(text)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("ramboot.toml"), roman("(5)")]);
    roff.to_writer(&mut page)?;
    Ok((man.get_filename(), page))
}

fn of_command(command: &Command, version: &str, date: &str) -> Result<Page> {
    let man = man(command, version, date);
    let mut page = head(&man)?;
    options(&man, &mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    if let Some(text) = command.get_after_long_help() {
        // "Examples:", then as they are typed.
        let text = text.to_string();
        let (title, lines) = text.split_once(":\n").unwrap_or(("Notes", &text));
        roff.control("SH", [title.to_uppercase().as_str()]);
        roff.control("EX", []);
        for line in lines.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("EE", []);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("ramboot"),
        roman("(1), "),
        bold("ramboot.toml"),
        roman("(5)"),
    ]);
    roff.to_writer(&mut page)?;
    Ok((man.get_filename(), page))
}

fn head(man: &Man) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    Ok(page)
}

fn options(man: &Man, page: &mut Vec<u8>) -> Result<()> {
    let mut options = Vec::new();
    man.render_options_section(&mut options)?;
    // clap_mangen 0.3.3 breaks the line before and after an empty one, which mandoc -Tlint calls a mistake.
    let options = String::from_utf8(options)?.replace("\n.br\n\n.br\n", "\n.sp\n");
    page.extend_from_slice(options.as_bytes());
    Ok(())
}

fn of_config(sections: &[Section], version: &str, date: &str) -> Result<Page> {
    let source = format!("ramboot {version}");
    let mut roff = Roff::new();
    roff.control(
        "TH",
        ["ramboot.toml", "5", date, source.as_str(), "ramboot"],
    );
    roff.control("SH", ["NAME"]);
    roff.text([roman(
        "ramboot.toml - what \"ramboot serve\" gives to which machine",
    )]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([italic("/etc/ramboot.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A TOML file. Every key is optional unless it is called required, and a flag of \"ramboot serve\" wins over its key. \
         An unknown key and a value that cannot work are refused with line and column before anything is served.",
    )]);
    for section in sections {
        roff.control("SH", [section.head().as_str()]);
        if !section.text.is_empty() {
            roff.text([roman(section.text.replace('`', ""))]);
        }
        for key in &section.keys {
            let value = match key.need {
                Need::Required => " (required): ",
                Need::Default => " (default): ",
                Need::Optional => " (example): ",
            };
            roff.control("TP", []);
            roff.text([
                bold(&key.name),
                roman(format!(", {}{value}{}", key.kind, key.value)),
            ]);
            roff.text([roman(key.text.replace('`', ""))]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("ramboot-serve"), roman("(1)")]);
    let mut page = Vec::new();
    page.write_all(roff.render().as_bytes())?;
    Ok(("ramboot.toml.5".to_owned(), page))
}

const FILES: [(&str, &str); 5] = [
    (
        "/etc/ramboot.toml",
        "The config file that the systemd unit names; see ramboot.toml(5).",
    ),
    (
        "/var/lib/ramboot",
        "Images, names and generations; worker files in overlays/; and the file \"secret\", of which there should be a copy elsewhere.",
    ),
    (
        "/run/ramboot",
        "The socket by which commands ask the manager on this machine.",
    ),
    (
        "/usr/lib/ipxe",
        "iPXE for machines that boot by BIOS or by UEFI's PXE.",
    ),
    (
        "/usr/lib/systemd/boot/efi",
        "The stub that the EFI file for UEFI machines is made with.",
    ),
];

//! A page of the manual as steps. What is to be done with a block stands in an HTML comment right before it:
//!
//! `test: run`, `test: run, exit N`, `test: vm CASE`, `test: FILE FUNCTION`, `test: not run: REASON` before commands,
//! `file: PATH` before what is to be written, `shows` before what the last commands print, `shows: log` before what the manager
//! logs, `said by: PATH` before what a source file says, or one in that folder. By itself stands `network: ADDRESS/PREFIX`, that of
//! the manager's eth0, and `meanwhile: COMMAND`, what others do while somebody reads (see the functions of `sandbox.rs`).

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// In docs/.
    pub(crate) name: String,
    /// Of eth0.
    pub(crate) network: String,
    pub(crate) steps: Vec<Step>,
    /// Line and text of each TOML block.
    pub(crate) configs: Vec<(usize, String)>,
}

/// One block.
#[derive(Debug)]
pub(crate) enum Step {
    Commands {
        line: usize,
        mark: Mark,
        lines: Vec<String>,
    },
    Meanwhile {
        line: usize,
        command: String,
    },
    File {
        path: String,
        text: String,
    },
    /// Of the last commands.
    Shows {
        line: usize,
        text: String,
    },
    Log {
        line: usize,
        text: String,
    },
    Said {
        line: usize,
        file: String,
        text: String,
    },
}

/// How commands are tested.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    Run { exit: i32 },
    Vm(String),
    Elsewhere { file: String, test: String },
    Not(String),
}

impl Page {
    /// Reads a page; `usual` is how blocks of commands without a mark are tested.
    ///
    /// # Errors
    /// A block without a mark, or a comment that is not understood; with its place.
    pub(crate) fn parse(name: &str, text: &str, usual: Option<&Mark>) -> Result<Self, String> {
        let mut page = Self {
            name: name.to_owned(),
            network: "10.0.0.1/24".to_owned(),
            steps: Vec::new(),
            configs: Vec::new(),
        };
        let mut comment: Option<&str> = None;
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let (number, indent) = (number + 1, line.len() - line.trim_start().len());
            let line = line.trim();
            if let Some(kind) = line.strip_prefix("```") {
                let inside: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line.get(indent..).unwrap_or_default())
                    .take_while(|line| !line.starts_with("```"))
                    .collect();
                let text = inside.join("\n") + "\n";
                page.block(number, kind, comment.take(), text, usual)
                    .map_err(|error| format!("docs/{name}:{number}: {error}"))?;
            } else if let Some(text) = line.strip_prefix("<!-- ") {
                let text = text.strip_suffix(" -->").unwrap_or(text);
                if let Some(network) = text.strip_prefix("network: ") {
                    network.clone_into(&mut page.network);
                } else if let Some(command) = text.strip_prefix("meanwhile: ") {
                    page.steps.push(Step::Meanwhile {
                        line: number,
                        command: command.to_owned(),
                    });
                } else {
                    comment = Some(text);
                }
            } else if !line.is_empty() {
                comment = None;
            }
        }
        Ok(page)
    }

    fn block(
        &mut self,
        line: usize,
        kind: &str,
        comment: Option<&str>,
        text: String,
        usual: Option<&Mark>,
    ) -> Result<(), String> {
        if kind == "toml" {
            self.configs.push((line, text.clone()));
        }
        let (word, rest) = match comment {
            Some(comment) => comment.split_once(": ").unwrap_or((comment, "")),
            None => ("", ""),
        };
        let rest = rest.to_owned();
        self.steps.push(match (word, kind) {
            ("test", "sh") => Step::Commands {
                line,
                mark: mark(&rest)?,
                lines: commands(&text),
            },
            ("", "sh") => Step::Commands {
                line,
                mark: usual
                    .cloned()
                    .ok_or("commands, and no comment before them says how they are tested")?,
                lines: commands(&text),
            },
            ("file", _) => Step::File { path: rest, text },
            ("shows", _) if rest.is_empty() => Step::Shows { line, text },
            ("shows", _) if rest == "log" => Step::Log { line, text },
            ("said by", _) => Step::Said {
                line,
                file: rest,
                text,
            },
            ("", "toml" | "text" | "yaml" | "json") => return Ok(()),
            (_, kind) => return Err(format!("a block of {kind:?} under {comment:?}")),
        });
        Ok(())
    }
}

fn mark(text: &str) -> Result<Mark, String> {
    let not = || format!("{text:?} is no way to test");
    if let Some(reason) = text.strip_prefix("not run: ") {
        return Ok(Mark::Not(reason.to_owned()));
    }
    match text.split(' ').collect::<Vec<_>>()[..] {
        ["run"] => Ok(Mark::Run { exit: 0 }),
        ["run,", "exit", code] => {
            let exit = code.parse().map_err(|_| not())?;
            Ok(Mark::Run { exit })
        }
        ["vm", case] => Ok(Mark::Vm(case.to_owned())),
        [file, test] => Ok(Mark::Elsewhere {
            file: file.to_owned(),
            test: test.to_owned(),
        }),
        _ => Err(not()),
    }
}

/// One a line, with what continues it; neither comments nor empty lines.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    let wanted = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    wanted.map(str::to_owned).collect()
}

#[test]
fn a_block_without_a_mark_is_refused() {
    let error = Page::parse("x.md", "words\n\n```sh\ntrue\n```\n", None).expect_err("no mark");
    assert!(error.starts_with("docs/x.md:3: "), "{error}");
    let text = "<!-- test: run, exit 3 -->\n\n```sh\n# why\nfalse \\\n  || exit 3\n```\n";
    let page = Page::parse("x.md", text, None).expect("a page");
    let [
        Step::Commands {
            mark: Mark::Run { exit: 3 },
            lines,
            ..
        },
    ] = &page.steps[..]
    else {
        panic!("{page:?}")
    };
    assert_eq!(lines[..], ["false    || exit 3"]);
}

//! Dashboard and alert rules read what the manager writes: each metric is in its real `/metrics`, each query is one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

/// `metrics` is a file with what a manager that has seen boots and failures wrote.
pub(crate) fn check(metrics: &Path) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(metrics)?;
    promtool(
        Command::new("promtool").args(["check", "metrics"]),
        Some(metrics),
    )?;
    let alerts = root.join("packaging/alerts.yaml");
    promtool(
        Command::new("promtool")
            .args(["check", "rules"])
            .arg(&alerts),
        None,
    )?;
    let story = root.join("tests/page/alerts.yaml");
    promtool(
        Command::new("promtool").args(["test", "rules"]).arg(story),
        None,
    )?;

    let dashboard = fs::read_to_string(root.join("packaging/grafana.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard).context("reading the dashboard")?;
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    ensure!(queries.len() > 10, "{queries:?}");
    let mut rules = "groups: [{name: dashboard, rules: [".to_owned();
    for (number, query) in queries.iter().enumerate() {
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$__range", "1h");
        write!(
            rules,
            "{{record: \"panel:{number}\", expr: {}}},",
            Value::from(query)
        )?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("dashboard.yaml");
    fs::write(&file, rules + "]}]")?;
    promtool(
        Command::new("promtool").args(["check", "rules"]).arg(&file),
        None,
    )?;

    let there: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let read = [queries.join(" "), fs::read_to_string(alerts)?].concat();
    for name in names(&read) {
        ensure!(
            there.contains(name),
            "{name} is read, and not in /metrics: {there:#?}"
        );
    }
    Ok(())
}

/// What a query is, anywhere in the dashboard.
fn collect(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            queries.extend(
                fields
                    .get("expr")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| collect(value, queries));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
        _ => {}
    }
}

/// Words with the manager's prefix.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("ramboot_"))
        .collect()
}

fn promtool(command: &mut Command, stdin: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = stdin {
        command.stdin(Stdio::from(fs::File::open(file)?));
    }
    let output = command
        .output()
        .context("starting promtool: tests/setup.sh installs it")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(())
}

//! The results as Markdown.

use std::fmt;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::spawn::cannot_run;

pub(super) struct Table {
    rounds: usize,
    machine: String,
    sections: Vec<Section>,
}

struct Section {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(rounds: usize) -> Result<Table> {
        let version = std::fs::read_to_string("/proc/version").context("/proc/version")?;
        let kernel = version.split_whitespace().nth(2).unwrap_or("?");
        let cpus = std::thread::available_parallelism()?;
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown CPU", |rest| {
                rest.trim_start_matches([' ', '\t', ':'])
            });
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let date = now.split('T').next().unwrap_or_default();
        Ok(Table {
            rounds,
            machine: format!("{model}, {cpus} CPUs, Linux {kernel}, {date}"),
            sections: Vec::new(),
        })
    }

    /// Starts a section with these columns. The first column is a name.
    pub(super) fn section(&mut self, columns: &[&str]) {
        self.sections.push(Section {
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        });
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        if let Some(section) = self.sections.last_mut() {
            section.rows.push(cells);
        }
    }
}

/// The first line that a tool prints with `--version`.
pub(super) async fn version(tool: &str) -> Result<String> {
    let output = Command::new(tool)
        .arg("--version")
        .output()
        .await
        .map_err(cannot_run(tool))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or(tool).trim().to_owned())
}

/// NaN without samples.
pub(super) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; medians of {} rounds", self.machine, self.rounds)?;
        for section in &self.sections {
            let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
            let rule = "---:|".repeat(section.columns.len().saturating_sub(1));
            writeln!(f, "\n{}\n|---|{rule}", line(&section.columns))?;
            for row in &section.rows {
                writeln!(f, "{}", line(row))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (samples, want) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 2.0, 3.0], 2.5)] {
            assert!(
                (median(&samples) - want).abs() < f64::EPSILON,
                "{samples:?}"
            );
        }
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn markdown() -> Result<()> {
        let mut table = Table::new(3)?;
        table.section(&["what", "ns"]);
        table.row(vec!["a".to_owned(), "1".to_owned()]);
        assert!(
            table
                .to_string()
                .ends_with("\n| what | ns |\n|---|---:|\n| a | 1 |\n")
        );
        Ok(())
    }
}

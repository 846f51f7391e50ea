//! Prints the findings of the doctor.

use std::io::Write;

use anyhow::Context;

use super::checks::{Finding, Grade};
use crate::terminal::takes_colours;

/// Prints one line per finding, with the fix below it.
pub(super) fn pretty(findings: &[Finding]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let colour = takes_colours(&out);
    let mut text = String::new();
    for finding in findings {
        let (mark, start) = match finding.grade {
            Grade::Ok => ("ok  ", "\x1b[32m"),
            Grade::Warning => ("warn", "\x1b[33m"),
            Grade::Error => ("FAIL", "\x1b[31m"),
        };
        let (start, end) = if colour { (start, "\x1b[0m") } else { ("", "") };
        text.push_str(&format!(
            "{start}{mark}{end}  {:<20} {}\n",
            finding.check,
            finding.found.replace('\n', "\n                          ")
        ));
        for hook in &finding.hooks {
            text.push_str(&format!(
                "        {} {:<10} {:<6} {}\n",
                if hook.attached { "+" } else { "-" },
                hook.kind,
                hook.abi.unwrap_or(""),
                hook.symbol
            ));
        }
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("      mend: {mend}\n"));
        }
    }
    out.write_all(text.as_bytes())
        .context("cannot write to standard output")
}

/// Prints one JSON object per line.
pub(super) fn json(findings: &[Finding]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in findings {
        let line = serde_json::to_string(finding).context("cannot encode a finding")?;
        writeln!(out, "{line}").context("cannot write to standard output")?;
    }
    Ok(())
}

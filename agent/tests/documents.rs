//! Generates the documents' tables of losses and metrics from the code.
//!
//! `make generate` writes them. Without it, the tests compare.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use mqspan::internals::loss::{IdentityLoss, Loss};
use mqspan::internals::metrics::catalog::{Definition, MetricKind, OWN_METRICS, QUEUE_METRICS};

/// Checks that the file has this table under `name`. Writes it if `MQSPAN_GENERATE` is set.
fn is_in(file: &str, name: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- table: {name} (make generate) -->\n\n");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (found, after) = rest.split_once("\n<!-- end -->").unwrap();
    if std::env::var_os("MQSPAN_GENERATE").is_some() {
        let text = format!("{before}{begin}{table}\n<!-- end -->{after}");
        fs::write(&path, text).unwrap();
    } else {
        assert_eq!(found, table, "{file}, table {name}: make generate");
    }
}

fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let line = |cells: Vec<&str>| {
        let cells = cells
            .iter()
            .map(|cell| format!(" {cell}").trim_end().to_owned());
        format!("|{} |\n", cells.collect::<Vec<_>>().join(" |"))
    };
    let mut table = line(head.to_vec()) + "|" + &"---|".repeat(COLUMNS) + "\n";
    for row in rows {
        table += &line(row.iter().map(String::as_str).collect());
    }
    table
}

#[test]
fn losses_are_what_the_code_knows() {
    let rows = Loss::ALL.iter().map(|loss| {
        let name = format!("`{}`", loss.name());
        [name, loss.when().to_owned(), loss.then().to_owned()]
    });
    let losses = table(["`mqspan.loss.reason`", "when", "what helps"], rows);
    is_in("docs/losses.md", "losses", &losses);

    let rows = IdentityLoss::ALL.iter().map(|missing| {
        let name = format!("`{}`", missing.name());
        [name, missing.when().to_owned(), missing.then().to_owned()]
    });
    let missing = table(["`mqspan.identity.loss`", "what is lost", "then"], rows);
    is_in("docs/losses.md", "missing", &missing);

    let losses = Loss::ALL.iter().map(|loss| (loss.place(), loss.name()));
    let missing = IdentityLoss::ALL
        .iter()
        .map(|missing| (missing.place(), missing.name()));
    let rows = losses.chain(missing);
    let rows = rows.map(|(place, name)| [place.to_owned(), format!("`{name}`")]);
    is_in("ARCHITECTURE.md", "places", &table(["where", "what"], rows));
}

#[test]
fn metrics_are_what_the_code_knows() {
    for (name, metrics) in [("queues", QUEUE_METRICS), ("own", OWN_METRICS)] {
        let head = ["metric", "kind, unit", "attributes", "says"];
        let metrics = table(head, metrics.iter().map(row));
        is_in("docs/filters.md", name, &metrics);
    }
}

fn row(metric: &Definition) -> [String; 4] {
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::UpDownCounter => "up-down counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    [
        format!("`{}`", metric.name),
        format!("{kind}, `{}`", metric.unit),
        metric.attributes.to_owned(),
        metric.description.to_owned(),
    ]
}

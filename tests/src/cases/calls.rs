//! Every call of a scenario is one right span.

use std::path::PathBuf;

use anyhow::Result;

use super::{Case, case, defaults, trace_and_compare};
use crate::Bench;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        case!("basic_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["basic"]
        )),
        case!("basic_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["basic"]
        )),
        // 5,000 sends and 5,000 receives: 10,000 spans, and two for the queue itself.
        case!("paced_10000", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["paced", "5000"]
        )),
        case!("pingpong_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["pingpong", "200"]
        )),
        case!("pingpong_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["pingpong", "200"]
        )),
        case!("exchange_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["exchange", "1000"]
        )),
        case!("exchange_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["exchange", "1000"]
        )),
        case!("odd_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["odd"]
        )),
        case!("odd_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["odd"]
        )),
        case!("time64", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["time64"]
        )),
        case!("tocttou_64", |b: &'static Bench| scenario(
            b,
            b.workload(),
            &["tocttou", "20"]
        )),
        case!("tocttou_32", |b: &'static Bench| scenario(
            b,
            b.workload32(),
            &["tocttou", "20"]
        )),
    ]
}

pub(super) async fn scenario(
    bench: &'static Bench,
    program: Result<PathBuf>,
    scenario: &'static [&'static str],
) -> Result<()> {
    let workload = Workload::new(program?, scenario)?;
    trace_and_compare(bench, &workload, defaults()).await
}

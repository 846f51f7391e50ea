//! Every call of a scenario is one correct span.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use mqspan_testkit::collector::Collector;

use super::{Case, case, comparison, defaults, scenario};
use crate::Bench;
use crate::agent::Agent;
use crate::compare::is_of;
use crate::workload::Workload;

pub(super) fn cases() -> Vec<Case> {
    vec![
        scenario("basic_64", 64, &["basic"]),
        scenario("basic_32", 32, &["basic"]),
        // 5,000 sends and 5,000 receives make 10,000 spans, plus two for the queue itself.
        scenario("paced_10000", 64, &["paced", "5000"]),
        scenario("pingpong_64", 64, &["pingpong", "200"]),
        scenario("pingpong_32", 32, &["pingpong", "200"]),
        scenario("exchange_64", 64, &["exchange", "1000"]),
        scenario("exchange_32", 32, &["exchange", "1000"]),
        scenario("odd_64", 64, &["odd"]),
        scenario("odd_32", 32, &["odd"]),
        case!("odd_refused_64", |b| refused(b, b.workload())),
        case!("odd_refused_32", |b| refused(b, b.workload32())),
        scenario("time64", 32, &["time64"]),
        scenario("tocttou_64", 64, &["tocttou", "20"]),
        scenario("tocttou_32", 32, &["tocttou", "20"]),
    ]
}

/// A call that seccomp refuses is neither seen nor lost.
async fn refused(bench: &'static Bench, program: Result<PathBuf>) -> Result<()> {
    const REFUSED: u64 = 1_000;
    let workload = Workload::new(program?, &["refused", &REFUSED.to_string()])?;
    let collector = Collector::start()?;
    let agent = Agent::sending_to(bench, &collector, defaults()).await?;
    let calls = workload.run(bench).await?;
    collector
        .wait_for_spans(calls.len(), bench.bound(30), is_of(&calls))
        .await?;
    let balance = agent.stop_balanced(bench).await?;
    ensure!(
        balance.seen < REFUSED / 10 && balance.lost < REFUSED / 10,
        "{REFUSED} calls were refused: {balance:?}"
    );
    comparison(bench, &workload).check(&calls, &collector.spans())
}

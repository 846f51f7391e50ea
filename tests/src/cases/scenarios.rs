//! Scenarios of the workload that an agent with default settings traces. They share one agent,
//! because on an emulated machine its start takes longer than most of them.

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use mqspan_testkit::collector::Collector;

use super::{Scenario, comparison, defaults, verdict};
use crate::Bench;
use crate::agent::{self, Agent};
use crate::compare::is_of;
use crate::truth::Call;
use crate::workload::Workload;

/// The agent of all scenarios, and the calls that they made.
pub(crate) struct Scenarios {
    collector: Collector,
    agent: Agent,
    done: RefCell<Vec<Vec<Call>>>,
}

impl Scenario {
    fn program(&self, bench: &Bench) -> Result<PathBuf> {
        if self.is_32_bit {
            bench.workload32()
        } else {
            bench.workload()
        }
    }
}

impl Scenarios {
    pub(crate) async fn start(bench: &Bench) -> Result<Scenarios> {
        let collector = Collector::start()?;
        let config = agent::config(bench, &collector.endpoint(), defaults());
        let agent = Agent::start(bench, config).await?;
        Ok(Scenarios {
            collector,
            agent,
            done: RefCell::default(),
        })
    }

    /// Every call of the scenario is one correct span.
    pub(crate) async fn run(&self, bench: &Bench, scenario: &Scenario) -> Result<()> {
        let workload = Workload::new(scenario.program(bench)?, scenario.args)?;
        let calls = workload.run(bench).await?;
        let is_ours = is_of(&calls);
        let arrived = self
            .collector
            .wait_for_spans(calls.len(), bench.bound(30), &is_ours)
            .await;
        let spans = self.collector.spans_that(&is_ours);
        let compared = comparison(bench, &workload).check(&calls, &spans);
        self.done.borrow_mut().push(calls);
        verdict(arrived, compared, &self.agent.log())
    }

    /// The agent ends well, its tally adds up and covers the scenarios, and none of their spans
    /// arrived late.
    pub(crate) async fn end(self, bench: &Bench) -> Result<()> {
        let balance = self.agent.stop_balanced(bench).await?;
        let done = self.done.into_inner();
        let calls: usize = done.iter().map(Vec::len).sum();
        let spans = self.collector.spans();
        for calls in &done {
            let is_ours = is_of(calls);
            let came = spans.iter().filter(|span| is_ours(span)).count();
            let first = calls.first().ok_or_else(|| anyhow!("no call"))?;
            ensure!(
                came == calls.len(),
                "process {}: {} calls, {came} spans in the end",
                first.pid,
                calls.len()
            );
        }
        let calls = u64::try_from(calls)?;
        ensure!(
            balance.exported >= calls && (!bench.own_machine || balance.seen == calls),
            "{calls} calls were made: {balance:?}"
        );
        Ok(())
    }
}

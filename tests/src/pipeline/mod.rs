//! Sends the spans of real programs through a real Collector to a real Jaeger, and asks Jaeger what
//! came.
//!
//! ```text
//! workload, demo ──> kernel ──> mqspan ──> Collector ──> Jaeger ──> compare
//!     │                            └───────────────────────┘ ^         ^
//!     └── truth ───────────────────────────────────────────────────────┘
//! ```
//!
//! The Collector and the agent have the configurations of `config/examples`, and Jaeger has its
//! built-in one. Then another Collector samples what it gets and writes it down ([`collector`]).
//! All ports are the ones that users have, so this needs a machine or a network namespace of its
//! own.

mod checks;
mod collector;
mod jaeger;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use collector::Speech;
use jaeger::{Jaeger, Trace};
use regex::Regex;
use serde::Deserialize;
use tokio::process::Command;

use crate::agent::{Agent, POLL};
use crate::balance::Balance;
use crate::server::Server;
use crate::spawn::cannot_run;
use crate::truth::Call;
use crate::workload::Workload;
use crate::{Backend, Bench, absolute};

/// Sends spans through a Collector to Jaeger, and to Jaeger directly, and asks Jaeger what came.
#[derive(Parser)]
#[command(name = "mqspan-pipeline")]
struct Args {
    /// The mqspan binary under test
    #[arg(long)]
    agent: PathBuf,
    /// Its configuration: config/examples/mqspan.yaml
    #[arg(long)]
    agent_config: PathBuf,
    /// One that follows messages, for what Jaeger has to show
    #[arg(long, value_enum)]
    backend: Backend,
    #[arg(long)]
    otelcol: PathBuf,
    /// The Collector's configuration: config/examples/collector.yaml
    #[arg(long)]
    otelcol_config: PathBuf,
    /// The configuration of the Collector that writes down what it gets: tests/pipeline/collector.yaml
    #[arg(long)]
    otelcol_writing: PathBuf,
    /// The Collector's load generator
    #[arg(long)]
    telemetrygen: PathBuf,
    #[arg(long)]
    jaeger: PathBuf,
    /// mqwork of this machine's native ABI
    #[arg(long)]
    workload: PathBuf,
    /// mqwork of the 32-bit ABI
    #[arg(long)]
    workload32: PathBuf,
    /// The demo's programs
    #[arg(long)]
    orders: PathBuf,
    #[arg(long)]
    warehouse: PathBuf,
    /// Run only the checks in whose name this regular expression is found
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,
    /// Multiplies every bound on waiting: for emulated machines
    #[arg(long, default_value_t = 1)]
    slow_factor: u32,
}

/// Messages of each of the three producers in the scenario `exchange`.
const MESSAGES: &str = "200";

/// The health address in the agent's configuration.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 13133);
/// Jaeger listens on the Collector's port, and so has an address of its own.
const JAEGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How spans reach Jaeger.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Collector,
    /// To the Collector by OTLP over HTTP.
    CollectorHttp,
    Direct,
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Route::Collector => "agent, Collector, Jaeger",
            Route::CollectorHttp => "agent, Collector by HTTP, Jaeger",
            Route::Direct => "agent, Jaeger",
        }
    }
}

/// What was run, and the agent's tally of it.
struct Run {
    /// The calls of each scenario, with the program that its first process ran.
    scenarios: Vec<(Workload, Vec<Call>)>,
    /// The agent's final tally.
    balance: Balance,
}

struct Pipeline {
    args: Args,
    bench: Bench,
}

impl Pipeline {
    fn otlp(&self, address: Ipv4Addr) -> SocketAddr {
        SocketAddr::from((address, 4317))
    }

    fn otlp_http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 4318))
    }

    async fn start_jaeger(&self) -> Result<(Server, Jaeger)> {
        let query = SocketAddr::from((JAEGER, 16686));
        let mut command = Command::new(&self.args.jaeger);
        command.env("JAEGER_LISTEN_HOST", JAEGER.to_string());
        let addresses = [query, self.otlp(JAEGER)];
        let server = Server::start(&self.bench, "Jaeger", &mut command, &addresses).await?;
        Ok((server, Jaeger { query }))
    }

    async fn start_collector(&self) -> Result<Server> {
        let listen = self.otlp(Ipv4Addr::LOCALHOST);
        let listen_http = self.otlp_http();
        let mut command = Command::new(&self.args.otelcol);
        command
            .arg("--config")
            .arg(&self.args.otelcol_config)
            .env("OTLP_LISTEN", listen.to_string())
            .env("OTLP_HTTP_LISTEN", listen_http.to_string())
            .env("JAEGER_ENDPOINT", self.otlp(JAEGER).to_string());
        Server::start(
            &self.bench,
            "the Collector",
            &mut command,
            &[listen, listen_http],
        )
        .await
    }

    /// Starts the agent with its example configuration. Only the endpoint differs, and over HTTP
    /// the protocol.
    async fn start_agent(&self, route: Route) -> Result<Agent> {
        let jaeger = format!("http://{}", self.otlp(JAEGER));
        let over_http = format!("http://{}", self.otlp_http());
        // An export that times out is sent again and would count twice.
        let timeout = format!("{}s", self.bench.bound(10).as_secs());
        let mut variables = vec![
            ("MQSPAN__CAPTURE__BACKEND", self.bench.backend.name()),
            ("MQSPAN__EXPORTERS__OTLP__TIMEOUT", &timeout),
        ];
        match route {
            Route::Collector => {}
            Route::CollectorHttp => {
                variables.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"));
                variables.push(("OTLP_ENDPOINT", &over_http));
            }
            Route::Direct => variables.push(("OTLP_ENDPOINT", &jaeger)),
        }
        Agent::start_file(&self.bench, &self.args.agent_config, &variables, HEALTH).await
    }

    /// Whether Jaeger compares hosts before it speaks of clocks: from 2.17 on.
    async fn jaeger_knows_hosts(&self) -> Result<bool> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let output = Command::new(&self.args.jaeger)
            .arg("version")
            .output()
            .await
            .map_err(cannot_run(&self.args.jaeger))?;
        let version: Version = serde_json::from_slice(&output.stdout).context("jaeger version")?;
        let mut numbers = version.git_version.trim_start_matches('v').split('.');
        let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
        match (next(), next()) {
            (Some(major), Some(minor)) => Ok((major, minor) >= (2, 17)),
            _ => bail!("Jaeger's version is {:?}", version.git_version),
        }
    }

    /// Runs the demo, which a user would look at in Jaeger, and programs that record what they do.
    async fn work(&self) -> Result<Vec<(Workload, Vec<Call>)>> {
        let demo = Command::new(&self.args.orders)
            .arg(&self.args.warehouse)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status();
        let demo = tokio::time::timeout(self.bench.bound(60), demo)
            .await
            .context("the demo did not end")?
            .map_err(cannot_run(&self.args.orders))?;
        ensure!(demo.success(), "the demo ended with {demo}");
        let (native, compat) = (self.bench.workload()?, self.bench.workload32()?);
        let consumer = native.display().to_string();
        let mut scenarios = Vec::new();
        for (program, scenario) in [
            (&native, vec!["basic"]),
            (&compat, vec!["basic"]),
            (&compat, vec!["exchange", MESSAGES, &consumer]),
        ] {
            let workload = Workload::new(program.clone(), &scenario)?;
            let calls = workload.run(&self.bench).await?;
            scenarios.push((workload, calls));
        }
        Ok(scenarios)
    }

    async fn run(&self, route: Route) -> Result<()> {
        let backend = self.bench.backend;
        ensure!(
            backend.sees_messages(),
            "{} does not follow messages",
            backend.name()
        );
        let (_jaeger, query) = self.start_jaeger().await?;
        let collector = match route {
            Route::Collector | Route::CollectorHttp => Some(self.start_collector().await?),
            Route::Direct => None,
        };
        let agent = self.start_agent(route).await?;
        let scenarios = self.work().await?;
        let balance = agent.stop_balanced(&self.bench).await?;
        let run = Run { scenarios, balance };
        let traces = self.traces(query, &run, collector.as_ref()).await?;
        checks::check(self, route, &run, query, &traces).await
    }

    /// Every trace, once everything that was exported is there.
    async fn traces(
        &self,
        jaeger: Jaeger,
        run: &Run,
        collector: Option<&Server>,
    ) -> Result<Vec<Trace>> {
        let give_up = tokio::time::Instant::now() + self.bench.bound(30);
        loop {
            let traces = jaeger.traces().await?;
            let spans = checks::count(&traces);
            if spans >= run.balance.exported {
                return Ok(traces);
            }
            if tokio::time::Instant::now() >= give_up {
                let log = collector.map(Server::log).transpose()?.unwrap_or_default();
                bail!(
                    "{spans} spans in Jaeger, and {} were exported; the Collector says: {log}",
                    run.balance.exported
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Runs `mqspan-pipeline`.
///
/// # Errors
///
/// When it cannot be run at all. A check that fails makes a failing exit code.
pub async fn pipeline() -> Result<ExitCode> {
    let args = Args::parse();
    let bench = Bench {
        own_machine: true,
        workload: Some(absolute(&args.workload)?),
        workload32: Some(absolute(&args.workload32)?),
        slow_factor: args.slow_factor.max(1),
        ..Bench::new(&args.agent, args.backend)?
    };
    let pipeline = Pipeline { args, bench };
    let (mut passed, mut failed) = (0, 0);
    let is_wanted = |name: &str| {
        let filter = pipeline.args.filter.as_ref();
        filter.is_none_or(|filter| filter.is_match(name))
    };
    let mut count = |name: &str, result: Result<()>| match result {
        Ok(()) => passed += 1,
        Err(error) => {
            failed += 1;
            println!("{name}: FAILED: {error:#}");
        }
    };
    for route in [Route::Collector, Route::CollectorHttp, Route::Direct] {
        if is_wanted(route.name()) {
            count(route.name(), pipeline.run(route).await);
        }
    }
    for (protocol, histograms) in [("grpc", "exponential"), ("http/protobuf", "explicit")] {
        let speech = Speech {
            protocol,
            histograms,
        };
        if is_wanted(&speech.name()) {
            count(&speech.name(), collector::check(&pipeline, speech).await);
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::units::HumanDuration;

/// OpenTelemetry spans of Linux POSIX message queue system calls.
#[derive(Debug, Parser)]
#[command(
    name = "mqspan",
    version,
    about,
    long_about = "mqspan hooks the mq_* system calls in the kernel, without touching the programs \
                  that make them, and turns each call into an OpenTelemetry span.\n\n\
                  It needs CAP_BPF and CAP_PERFMON, or root. `mqspan doctor` tells what this \
                  machine allows.",
    after_help = "Examples:\n  \
                  sudo mqspan trace                        every call on this machine, live\n  \
                  sudo mqspan trace -- ./orders            the calls of one program\n  \
                  sudo mqspan top                          the queues of this machine, live\n  \
                  sudo mqspan run --config mqspan.yaml     spans to a collector, until SIGTERM"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace all processes and export spans, until SIGTERM or SIGINT
    Run(RunArgs),
    /// Show spans live on the terminal; needs no collector
    Trace(TraceArgs),
    /// Show queues live: depth, rates, waits, blocked callers
    Top(TopArgs),
    /// Tell what this kernel and these privileges allow
    Doctor(DoctorArgs),
    /// Check or print a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print what completes mqspan's command line in a shell
    Completions(CompletionsArgs),
    /// Write the manual pages, one a command (used to make packages)
    #[command(hide = true)]
    Man(ManArgs),
    /// Wait for a byte on a descriptor, then become COMMAND (used by `trace`)
    #[command(hide = true)]
    Launch(LaunchArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration, YAML; without it the defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// In a file or pipe as well
    Always,
    /// Nowhere
    Never,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "Filters of different kinds must all match; of one kind, any of those given.\n\
                        Durations are written 200us, 5ms, 1s."
)]
pub struct TraceArgs {
    /// Only this process and its children [repeatable]
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only threads whose name matches [repeatable]
    #[arg(long, value_name = "GLOB")]
    pub comm: Vec<String>,
    /// Only queues whose name matches [repeatable]
    #[arg(long, value_name = "GLOB")]
    pub queue: Vec<String>,
    /// Only calls that took at least this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_duration: Option<std::time::Duration>,
    /// Only calls that failed
    #[arg(long)]
    pub errors: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Output::Pretty)]
    pub output: Output,
    /// Colours of the pretty output: results are green, yellow (timeouts and the like) or red
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// In the end, print calls, errors and durations of each operation and queue to standard error
    #[arg(long)]
    pub summary: bool,
    /// Print each chain as a tree, a second after its last call: which sends came of which messages
    #[arg(long, conflicts_with_all = ["output", "summary"])]
    pub chains: bool,
    /// How to hook: auto (the default), fentry, kprobe or tracepoint
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
    /// Run this command, trace it and its children, and exit with its code
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What the queues of `top` are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SortKey {
    /// Messages sent and received
    #[default]
    Traffic,
    /// Name
    Name,
    /// Share of the limit that is in the queue
    Depth,
    /// Callers that are blocked
    Blocked,
    /// p99 of the wait of receives
    Wait,
    /// p99 of the time in the queue
    Queued,
    /// Calls that failed, timeouts included
    Errors,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(
    long_about = "A live screen of the queues that are in use: how full they are, how many messages go \
                  in and out, how long receives wait, and who is blocked.\n\n\
                  It loads programs of its own into the kernel, so it needs no running agent and \
                  changes nothing for one. Each call costs as much as under `mqspan trace`.",
    after_help = "Columns:\n  \
                  DEPTH     messages in the queue, of as many as it takes (mq_maxmsg)\n  \
                  BLKD      callers that are blocked in a send or receive now\n  \
                  SEND/S    messages sent a second; RECV/S received\n  \
                  WAITp50   receives that got a message waited no longer, one in two; WAITp99 99 in 100\n  \
                  INQp99    99 in 100 messages were no longer in the queue before somebody had them;\n            \
                  \"-\" where sends and receives cannot be connected (backend tracepoint)\n  \
                  ERR/S     calls that failed a second, timeouts apart\n  \
                  TMO/S     calls that ended with ETIMEDOUT\n\n\
                  Rates and quantiles are those of the last 10 seconds; quantiles are right to an eighth. \
                  Times of the\nday are UTC. A queue shows from its first call on, or as long as \
                  somebody is blocked on it.\n\n\
                  Keys: h shows them. Filters are those of `trace`: of different kinds all must match, \
                  of one kind any.\n\n\
                  Examples:\n  \
                  sudo mqspan top                             everything on this machine\n  \
                  sudo mqspan top --queue '/orders*'          these queues alone\n  \
                  sudo mqspan top --batch 3 --sort blocked    three plain tables, for a log\n\n\
                  NO_COLOR=1 leaves colours out; they never mean anything that is not written, too."
)]
pub struct TopArgs {
    /// Only this process and its children [repeatable]
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only threads whose name matches [repeatable]
    #[arg(long, value_name = "GLOB")]
    pub comm: Vec<String>,
    /// Only queues whose name matches [repeatable]
    #[arg(long, value_name = "GLOB")]
    pub queue: Vec<String>,
    /// How often the numbers change
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    pub interval: std::time::Duration,
    /// What the queues are sorted by
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    pub sort: SortKey,
    /// Print so many plain tables, one an interval, and end; needs no terminal
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// How to hook: auto (the first of kprobe, tracepoint, fentry that attaches) or one of them
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
}

fn interval(text: &str) -> Result<std::time::Duration, String> {
    let interval = duration(text)?;
    if interval < std::time::Duration::from_millis(100) {
        return Err("at least 100ms".to_owned());
    }
    Ok(interval)
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<HumanDuration>()
        .map(|duration| duration.0)
        .map_err(|error| error.to_string())
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The configuration to check for; without it the defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Output::Pretty)]
    pub output: Output,
}

/// The commands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file and say what is wrong with it
    Check {
        /// The file, YAML
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the effective configuration, secrets masked
    Print {
        /// The configuration; without it the defaults and the environment
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                        mqspan completions bash | sudo tee /etc/bash_completion.d/mqspan\n  \
                        mqspan completions zsh >\"${fpath[1]}/_mqspan\"\n  \
                        mqspan completions fish >~/.config/fish/completions/mqspan.fish\n\n\
                        The Debian package brings those of bash, zsh and fish.")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Where they go; it must be there
    #[arg(value_name = "DIRECTORY")]
    pub directory: PathBuf,
}

/// Arguments of `launch`.
#[derive(Debug, Args)]
pub struct LaunchArgs {
    /// The descriptor to wait on
    pub descriptor: i32,
    /// What to become
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}

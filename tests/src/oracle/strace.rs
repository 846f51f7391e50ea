//! Parses what strace wrote: joins lines to calls, in the order in which the calls began.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use super::arguments;

const UNFINISHED: &str = "<unfinished ...>";

/// The same, for a thread that strace has let go of.
const DETACHED: &str = "<detached ...>";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Value(i64),
    /// The name of the error: `EAGAIN`, or `ERESTARTSYS`, which no caller sees.
    Error(String),
    /// The thread died inside the call, by this signal if by one.
    Died(Option<String>),
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The line as strace wrote it, after joining.
    pub(super) line: String,
    /// Thread numbers may be reused. The calls of both threads are then one sequence in time, for
    /// strace as for the agent.
    pub(super) tid: i64,
    pub(super) syscall: String,
    pub(super) arguments: Vec<String>,
    pub(super) outcome: Outcome,
}

/// Splits `NAME(ARGUMENTS) = RESULT` into its parts.
fn call(tid: i64, text: &str) -> Result<Call> {
    let (syscall, rest) = text.split_once('(').context("no call")?;
    // Outside of strings, arguments contain no ") = ", and a result contains none at all.
    let at = rest.rfind(" = ").context("no result")?;
    let (arguments, result) = rest.split_at(at);
    let arguments = arguments
        .trim_end()
        .strip_suffix(')')
        .context("no closing parenthesis")?;
    Ok(Call {
        line: format!("{tid} {text}"),
        tid,
        syscall: syscall.to_owned(),
        arguments: arguments::split(arguments)
            .into_iter()
            .map(str::to_owned)
            .collect(),
        outcome: outcome(result.trim_start_matches(" = "))?,
    })
}

fn outcome(result: &str) -> Result<Outcome> {
    let mut words = result.split_whitespace();
    let (value, error) = (words.next().context("no result")?, words.next());
    Ok(match (value, error) {
        // `= ? <unavailable>`: the thread was gone when strace tried to read its registers.
        ("?", None | Some("<unavailable>")) => Outcome::Died(None),
        // `-1 (errno 18446744073709551336)`: not an error of the kernel's, but the 64 bits of a
        // register.
        ("-1", Some("(errno")) => {
            let bits = words
                .next()
                .and_then(|bits| bits.trim_end_matches(')').parse::<u64>().ok());
            Outcome::Value(bits.context("no errno")?.cast_signed())
        }
        ("?" | "-1", Some(name)) if name.starts_with('E') => Outcome::Error(name.to_owned()),
        (value, _) => {
            let (number, _) = arguments::descriptor(value).context("not a result")?;
            Outcome::Value(number)
        }
    })
}

/// The calls of all threads while they are being joined.
#[derive(Default)]
struct Joining {
    calls: Vec<Option<Call>>,
    /// A thread's open call: its index in `calls` and its text so far.
    open: HashMap<i64, (usize, String)>,
    /// Index in `calls` of a thread's last call.
    last: HashMap<i64, usize>,
}

impl Joining {
    fn line(&mut self, line: &str) -> Result<()> {
        let (tid, text) = line.split_once(' ').context("no thread")?;
        let tid = tid.parse().context("not a thread's number")?;
        let text = text.trim_start();
        if let Some(end) = text.strip_prefix("+++ ") {
            return self.thread_ended(tid, end);
        }
        // A signal, or a thread that died before strace could read which call it was in.
        if text.starts_with("--- ") || (text.starts_with("???(") && text.ends_with("= ?")) {
            return Ok(());
        }
        if let Some(rest) = text.strip_prefix("<... ") {
            let (_, rest) = rest.split_once(" resumed>").context("what is resumed?")?;
            let (at, begun) = self.open.remove(&tid).context("resumes nothing")?;
            // A thread that ends inside the call resumes with nothing more to say.
            let rest = rest.replacen(&format!(" {UNFINISHED}"), "", 1);
            return self.put(at, call(tid, &format!("{begun}{rest}"))?);
        }
        ensure!(!self.open.contains_key(&tid), "a call inside of a call");
        self.calls.push(None);
        let at = self.calls.len() - 1;
        self.last.insert(tid, at);
        let begun = [UNFINISHED, DETACHED]
            .iter()
            .find_map(|end| text.strip_suffix(end));
        match begun {
            Some(begun) => {
                let begun = begun.strip_suffix(' ').unwrap_or(begun);
                self.open.insert(tid, (at, begun.to_owned()));
                Ok(())
            }
            None => self.put(
                at,
                call(tid, &text.replacen(&format!(" {UNFINISHED}"), "", 1))?,
            ),
        }
    }

    fn put(&mut self, at: usize, call: Call) -> Result<()> {
        *self.calls.get_mut(at).context("no such call")? = Some(call);
        Ok(())
    }

    /// `end` is `exited with 0 +++`, `killed by SIGKILL +++` or
    /// `superseded by execve in pid 7 +++`.
    fn thread_ended(&mut self, tid: i64, end: &str) -> Result<()> {
        if let Some((at, begun)) = self.open.remove(&tid) {
            self.put(at, call(tid, &format!("{begun}) = ?"))?)?;
        }
        let killer = end
            .strip_prefix("killed by ")
            .and_then(|rest| rest.split_whitespace().next());
        let last = self.last.remove(&tid).and_then(|at| self.calls.get_mut(at));
        if let (Some(Some(call)), Some(killer)) = (last, killer)
            && (matches!(call.outcome, Outcome::Died(_)) || killer == "SIGKILL")
        {
            // When a thread is killed on its way out, strace 6.1 can no longer ask the kernel for
            // the return. It writes what it last read of another thread, which is no return of this
            // one.
            call.outcome = Outcome::Died(Some(killer.to_owned()));
        }
        Ok(())
    }
}

/// Parses every call in the output of `strace -f -q -y`.
pub(super) fn parse(text: &str) -> Result<Vec<Call>> {
    let mut joining = Joining::default();
    for line in text.lines() {
        joining.line(line).with_context(|| line.to_owned())?;
    }
    // For some killed threads, strace 6.1 does not write the end. A thread that lived on would have
    // returned.
    let without_end: Vec<_> = joining.last.keys().copied().collect();
    for tid in without_end {
        joining.thread_ended(tid, "killed by SIGKILL")?;
    }
    Ok(joining.calls.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;

//! Exports of the agent's own log and metrics, and their counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Client;
use super::destination::Destination;
use super::operation::{ErrorType, ExportTally, Exports, Operation, by_destination};
use super::signal::Signal;
use crate::config::Otlp;

/// A client, and the counts of what it sends.
#[derive(Debug)]
pub struct OwnClient {
    client: Client,
    tally: Arc<ExportTally>,
}

impl OwnClient {
    fn new(config: Otlp, signal: Signal, tally: Arc<ExportTally>) -> anyhow::Result<Self> {
        let client = Client::new(config, signal)?;
        Ok(Self { client, tally })
    }

    /// Sends a request of `items` log records or points, once. Returns how many
    /// of them were rejected.
    ///
    /// # Errors
    /// The cause, as text for the log.
    pub(crate) async fn send(&self, request: Vec<u8>, items: u64) -> Result<u64, String> {
        self.client.refresh();
        self.tally.enter(items);
        let operation = Operation::start();
        let result = self.client.send_own(request).await;
        operation.answered(&result, self.client.protocol());
        let (rejected, error) = match &result {
            Ok(partial) => (partial.rejected_spans.min(items), ErrorType::Rejected),
            Err(failure) => (items, ErrorType::of(failure)),
        };
        if rejected > 0 || result.is_err() {
            self.tally.failed(&operation, error, rejected);
        }
        self.tally.exported(items - rejected);
        self.tally.ended(&operation);
        self.tally.leave(items);
        match result {
            Ok(_) => Ok(rejected),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// As [`Client::endpoint`].
    pub(crate) fn endpoint(&self) -> String {
        self.client.endpoint()
    }
}

/// The client of one exporter, which a reload can replace, and what all its
/// clients have done.
#[derive(Debug)]
pub struct OwnExports {
    signal: Signal,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    client: Arc<OwnClient>,
    /// One for each destination so far.
    tallies: Vec<(Destination, Arc<ExportTally>)>,
}

impl OwnExports {
    /// Needs the runtime's context.
    ///
    /// # Errors
    /// If a TLS file cannot be used.
    pub fn new(config: Otlp, signal: Signal) -> anyhow::Result<Self> {
        let destination = Destination::collector(&config, signal);
        let tally = Arc::<ExportTally>::default();
        let client = OwnClient::new(config, signal, Arc::clone(&tally))?;
        Ok(Self {
            signal,
            state: Mutex::new(State {
                client: Arc::new(client),
                tallies: vec![(destination, tally)],
            }),
        })
    }

    /// Uses another collector from now on. Needs the runtime's context.
    ///
    /// # Errors
    /// As [`Self::new`]. The old collector then stays in use.
    pub fn set_collector(&self, config: Otlp) -> anyhow::Result<()> {
        let destination = Destination::collector(&config, self.signal);
        let mut state = self.lock();
        let known = state
            .tallies
            .iter()
            .find(|(known, _)| *known == destination);
        let known = known.map(|(_, tally)| Arc::clone(tally));
        let tally = known.clone().unwrap_or_default();
        state.client = Arc::new(OwnClient::new(config, self.signal, Arc::clone(&tally))?);
        if known.is_none() {
            state.tallies.push((destination, tally));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn client(&self) -> Arc<OwnClient> {
        Arc::clone(&self.lock().client)
    }

    /// What all its clients have done.
    pub fn counts(&self) -> Vec<Exports> {
        let state = self.lock();
        let all = state.tallies.iter();
        by_destination(all.map(|(destination, tally)| (destination, tally.snapshot())))
    }
}

//! Observable instruments of the OpenTelemetry SDK that report parts of the
//! state that was read last.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::catalog::Definition;
use super::state::OwnState;

pub(super) type Observer<'a, T> = &'a dyn AsyncInstrument<T>;

/// Makes the instruments.
pub(super) struct Observed {
    pub(super) meter: Meter,
    pub(super) state: Arc<Mutex<OwnState>>,
}

impl Observed {
    /// Calls `observe` with the state at each collection.
    fn callback<T>(
        &self,
        observe: impl Fn(&OwnState, Observer<'_, T>) + Send + Sync + 'static,
    ) -> impl Fn(Observer<'_, T>) + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |observer| {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            observe(&state, observer);
        }
    }

    pub(super) fn counter(
        &self,
        definition: Definition,
        observe: impl Fn(&OwnState, Observer<'_, u64>) + Send + Sync + 'static,
    ) {
        self.meter
            .u64_observable_counter(definition.name)
            .with_unit(definition.unit)
            .with_description(definition.description)
            .with_callback(self.callback(observe))
            .build();
    }

    pub(super) fn seconds(
        &self,
        definition: Definition,
        observe: impl Fn(&OwnState, Observer<'_, f64>) + Send + Sync + 'static,
    ) {
        self.meter
            .f64_observable_counter(definition.name)
            .with_unit(definition.unit)
            .with_description(definition.description)
            .with_callback(self.callback(observe))
            .build();
    }

    pub(super) fn up_down_counter(
        &self,
        definition: Definition,
        observe: impl Fn(&OwnState, Observer<'_, i64>) + Send + Sync + 'static,
    ) {
        self.meter
            .i64_observable_up_down_counter(definition.name)
            .with_unit(definition.unit)
            .with_description(definition.description)
            .with_callback(self.callback(observe))
            .build();
    }
}

pub(super) fn signed(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

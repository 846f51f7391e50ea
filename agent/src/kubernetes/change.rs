//! What the watch tells the capture thread.

use super::pod::Pod;

#[derive(Debug)]
pub(crate) enum Change {
    /// A list of all pods begins.
    ListBegins,
    /// A pod in its current state.
    Seen(Box<Pod>),
    /// The pod with this UID is gone.
    Gone(String),
    /// The list is complete: pods that are not in it are gone.
    ListEnds,
}

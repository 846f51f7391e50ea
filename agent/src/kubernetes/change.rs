//! What the watch tells the capture thread.

use super::pod::Pod;

/// One thing that it tells.
#[derive(Debug)]
pub(crate) enum Change {
    /// A list of all pods begins.
    ListBegins,
    /// A pod as it is now.
    Seen(Box<Pod>),
    /// The pod with this UID is no more.
    Gone(String),
    /// The list is complete: pods that are not in it are no more.
    ListEnds,
}

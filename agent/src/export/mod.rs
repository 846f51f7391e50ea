//! Send.

//! The status of a span: which failures are errors.

use std::collections::BTreeSet;

use crate::config::ErrorCode;
use crate::event::Operation;

/// Whether the failure of a call is an error. `errno` is the number that the
/// program sees.
pub fn is_error(_operation: Operation, errno: i32, unset: &BTreeSet<ErrorCode>) -> bool {
    !unset.contains(&ErrorCode(errno))
}

//! The command `mqspan`.
fn main() {}

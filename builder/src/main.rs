//! The `akb` command.
fn main() {}

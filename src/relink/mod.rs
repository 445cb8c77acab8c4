//! x
pub mod elf;

//! Locks: text becomes a lock.
//!
//! One file for each lock format; what they share is [`names`] (package and file names), [`tags`]
//! (which wheels run on a target) and [`markers`] (which dependencies hold on it). [`resolve`] finds what
//! builds a package, [`make()`] writes it down.

pub mod markers;
pub mod names;
pub mod resolve;
pub mod sidecar;
pub mod tags;
pub mod uv;

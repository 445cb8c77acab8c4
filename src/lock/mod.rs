//! Locks: text becomes a lock.
//!
//! One file for each lock format; what they share is [`names`] (package and file names), [`tags`]
//! (which wheels run on a target) and [`markers`] (which dependencies hold on it). [`resolve`] finds what
//! builds a package, [`mod@make`] writes it down in akb's own lock, the [`sidecar`].

pub mod make;
pub mod markers;
pub mod names;
pub mod resolve;
pub mod sidecar;
pub mod tags;
pub mod uv;

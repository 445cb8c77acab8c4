//! Locks: text becomes a lock.
//!
//! One file for each lock format; what they share is [`names`] (package and file names), [`tags`]
//! (which wheels run on a target) and [`markers`] (which dependencies hold on it).

pub mod markers;
pub mod names;
pub mod tags;
pub mod uv;

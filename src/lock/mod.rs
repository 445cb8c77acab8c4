//! Text to locks: `uv.lock`, and akb's own sidecar lock.

pub mod sidecar;

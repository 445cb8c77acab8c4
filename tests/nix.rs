//! akb as the builder of derivations, with real Nix of two versions: `nix/harness.rs` says where they come from.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and may look around")]

#[path = "nix/authentik.rs"]
mod authentik;
#[path = "nix/build.rs"]
mod build;
#[path = "nix/fetch.rs"]
mod fetch;
#[path = "nix/flake.rs"]
mod flake;
#[path = "nix/functions.rs"]
mod functions;
#[path = "nix/harness.rs"]
mod harness;
#[path = "nix/inputs.rs"]
mod inputs;
#[path = "nix/server.rs"]
mod server;
#[path = "nix/world.rs"]
mod world;
#[path = "nix/wrong.rs"]
mod wrong;

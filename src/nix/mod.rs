//! akb as the builder of a Nix derivation. The one module that knows Nix: what it is told ([`attributes`]), how it
//! speaks ([`log`]), what each kind of derivation does ([`stages`]), what store paths are ([`store`]), and what keeps
//! them alive ([`why`]).
//!
//! A derivation is an offline build whose cache is filled from store paths; a fixed-output one may use the network.

pub mod attributes;
pub mod log;
pub mod propagated;
pub mod stages;
pub mod store;
pub mod why;

pub use attributes::{AttributeError, Attributes};
pub use log::Log;
pub use stages::{NixError, Stage, run};

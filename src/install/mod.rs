//! Wheels become a site: verified against their own records, mapped to their places, written once.
//!
//! [`Wheel::open`] trusts nothing of an unpacked wheel until its `RECORD` holds. [`plan`](fn@plan) says where every
//! file goes and finds all collisions before a byte is written. [`write`](fn@write) writes the plan into an empty tree.
//! What edits the tree later calls [`refresh_records`].
//!
//! Specifications: binary distribution format (PEP 427), recording installed projects (PEP 376, 627),
//! entry points, direct URL (PEP 610), virtual environments (PEP 405).

mod collide;
mod direct_url;
mod entry_points;
mod error;
mod headers;
mod layout;
mod names;
mod plan;
pub mod record;
mod refresh;
#[cfg(test)]
mod testing;
mod wheel;
mod write;

pub use collide::Collision;
pub use direct_url::DirectUrl;
pub use entry_points::EntryPoint;
pub use error::{InstallError, RecordProblem};
pub use layout::Layout;
pub use plan::{Content, Placed, SitePlan, plan};
pub use refresh::{record_bytecode, refresh_records};
pub use wheel::Wheel;
pub use write::{Files, write};

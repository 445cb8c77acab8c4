//! akb turns a locked Python project into a finished, relinked, reproducible tree.
//!
//! The modules follow what flows through a build; `DESIGN.md` says why each is a room of its own.
//!
//! | what happens | module |
//! |---|---|
//! | what a build may depend on | [`request`], [`recipe`], [`vendored`] |
//! | text becomes a lock, a lock becomes a plan | [`lock`], [`plan`] |
//! | Python, compilers and libraries | [`inputs`] |
//! | names and hashes become verified files | [`registries`], [`net`], [`index`], [`fetch`], [`git`], [`cache`] |
//! | archives become folders | [`unpack`] |
//! | source distributions become wheels | [`wheel`], in a [`sandbox`] |
//! | wheels become a site | [`install`], [`bytecode`] |
//! | files of it become what the recipe says | [`substitute`], [`edit`] |
//! | the site becomes self-contained | [`runtime`], [`relink`] |
//! | what a tree names, and what it does not need | [`references`], [`strip`] |
//! | the tree becomes canonical and gets its identity | [`tree`], [`nar`], [`place`] |
//! | the result is read again | [`verify`] |
//! | all of it, top to bottom | [`pipeline`] |

pub mod bytecode;
pub mod cache;
pub mod digest;
pub mod edit;
pub mod explain;
pub mod fetch;
pub mod git;
pub mod index;
pub mod inputs;
pub mod install;
pub mod lock;
pub mod nar;
pub mod net;
pub mod nix;
pub mod pipeline;
pub mod place;
pub mod plan;
pub mod recipe;
pub mod references;
pub mod registries;
pub mod relink;
pub mod report;
pub mod request;
mod rewrite;
pub mod runtime;
pub mod sandbox;
pub mod strip;
pub mod substitute;
pub mod tree;
pub mod unpack;
pub mod vendored;
pub mod verify;
pub mod wheel;

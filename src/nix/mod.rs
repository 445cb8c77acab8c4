//! The one room that knows Nix.

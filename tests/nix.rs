//! akb as the builder of derivations, with real Nix of two versions: see `nix/harness.rs` for where it comes from.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and may look around")]

#[path = "nix/harness.rs"]
mod harness;

use harness::Nix;

#[test]
fn nix_builds_in_its_sandbox() {
    for nix in [Nix::old(), Nix::new()] {
        let builder = env!("CARGO_BIN_EXE_akb");
        let expression = format!(
            r#"derivation {{ name = "x"; system = builtins.currentSystem; builder = {builder}; args = [ "--version" ]; }}"#
        );
        let log = nix.build(&expression).fails(if nix.is_old() { 1 } else { 100 });
        assert!(log.contains("akb 0.1.0"), "{log}");
    }
}

//! Builds of a whole project, from the first download to a Python that runs in another derivation's sandbox.

use std::fs;
use std::path::Path;

use crate::harness::Nix;
use crate::world::{AKB, World, certificates, repository};

/// Imports what is compiled and what is not, and says where from.
const SCRIPT: &str = "import os, sys, docopt, wcwidth, markupsafe._speedups as fast; \
                      open(os.environ['out'], 'w').write(f'{sys.prefix} {fast.__name__}')";

fn hash(nix: &Nix, tree: &str) -> String {
    receipt(&nix.path(tree))
}

/// The hash of what akb builds without Nix.
fn standalone(world: &World) -> String {
    world.akb(&["build", "small", "--locked", "--out", "standalone"]).ok();
    receipt(&world.path("standalone"))
}

fn receipt(tree: &Path) -> String {
    let receipt = fs::read_to_string(tree.join("akb-receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    receipt["hash"].as_str().unwrap().to_owned()
}

/// Runs a tree's Python as a builder: the sandbox shows the tree's closure and nothing else. Nix tells a program its
/// bare name alone, so that Python looks for itself in PATH.
pub(crate) fn runs(nix: &Nix, tree: &str) {
    let expression = format!(
        "derivation {{ name = \"ran\"; system = builtins.currentSystem; \
         builder = builtins.storePath {tree} + \"/bin/python\"; PATH = \"{tree}/bin\"; args = [ \"-c\" \"{SCRIPT}\" ]; }}"
    );
    let said = fs::read_to_string(nix.path(&nix.built(&expression)[0])).unwrap();
    assert_eq!(said, format!("{tree} markupsafe._speedups"));
}

/// The template, with akb beside it: nothing of nix/ but that one file.
#[test]
fn a_derivation_whose_builder_is_akb() {
    let world = World::small().own();
    let template = fs::read_to_string(repository("nix/template/flake.nix")).unwrap();
    let mut line = "builder = ./akb;".to_owned();
    assert!(template.contains(&line));
    if let Some(file) = certificates().strip_prefix("caBundle = ") {
        fs::copy(file.trim_end_matches(';'), world.project().join("ca.crt")).unwrap();
        line += " caBundle = ./ca.crt;";
    }
    fs::write(world.project().join("flake.nix"), template.replace("builder = ./akb;", &line)).unwrap();
    fs::copy(AKB, world.project().join("akb")).unwrap();

    let expected = standalone(&world);
    for nix in [Nix::old(), Nix::new()] {
        let of = |name: &str| {
            format!("(builtins.getFlake \"path:{}\").packages.x86_64-linux.{name}", world.project().display())
        };
        let tree = nix.built(&of("default")).remove(0);
        assert_eq!(hash(&nix, &tree), expected);
        runs(&nix, &tree);
        assert_eq!(nix.query("--requisites", &tree), std::slice::from_ref(&tree), "nothing else stays alive");
        for name in ["files", "debs", "default"] {
            nix.check(&of(name)).ok();
        }
    }
}

/// Sources compiled in derivations of their own make the same tree.
#[test]
fn fine_grain_makes_the_same_tree() {
    let world = World::small();
    let nix = Nix::new();
    let expression = world.expression("akb.build (p // { wheels = true; allowedReferences = [ \"out\" ]; })");
    let tree = nix.built(&expression).remove(0);
    runs(&nix, &tree);
    assert_eq!(hash(&nix, &tree), standalone(&world.own()));
    nix.check(&world.expression("(akb.wheels p).\"markupsafe 3.0.4\"")).ok();
}

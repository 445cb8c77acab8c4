//! The release that this project is for, with nothing but akb: fetched, compiled in derivations of its own, and put
//! together against store paths that were Debian packages.

use std::fs;

use crate::harness::Nix;
use crate::world::{World, copy, repository};

const IMPORTS: &str = "import os, sys, django, lxml.etree, xmlsec, psycopg.pq, gssapi, kadmin, cryptography, pydantic_core, \
                       orjson, uvloop, opencontainers; \
                       open(os.environ['out'], 'w').write(psycopg.pq.__impl__)";

/// The release, by its name; or, where the archive has dropped packages that its lock pins, by a lock of today.
fn subject(nix: &Nix, world: &World) -> String {
    let known = "release = \"authentik-deps@2026.2.0\";".to_owned();
    let outcome =
        nix.build(&world.expression(&format!("akb.fetchInputs (removeAttrs p [ \"src\" ] // {{ {known} }})")));
    if outcome.code == Some(0) {
        return known;
    }
    assert!(outcome.log.contains("the archive no longer has"), "{}", outcome.log);
    let folder = world.path("authentik");
    for name in ["uv.lock", "pyproject.toml"] {
        copy(&repository("tests/locks/authentik-2026.2.0").join(name), &folder.join(name));
    }
    copy(&repository("vendor-hashes/authentik-2026.2.0.toml"), &folder.join("akb.toml"));
    world.akb(&["lock", "authentik"]).ok();
    format!("src = {};", folder.display())
}

#[test]
fn authentiks_dependencies_become_a_store_path() {
    let world = World::small();
    let nix = Nix::old();
    let subject = subject(&nix, &world);
    let of = |tail: &str| {
        world.expression(&format!(
            "let r = removeAttrs p [ \"src\" ] // {{ {subject} }}; i = akb.inputs r; \
             environment = akb.build (r // {{ inputs = [ i.out i.dev ]; wheels = true; allowedReferences = [ \"out\" i.out ]; }}); \
             in {tail}"
        ))
    };
    let tree = nix.built(&of("environment")).remove(0);
    let runtime = nix.built(&of("i.out")).remove(0);
    let mut expected = vec![tree.clone(), runtime.clone()];
    expected.sort();
    assert_eq!(nix.query("--requisites", &tree), expected);

    let size = nix.run("nix", &["path-info", "--closure-size", &tree]).ok();
    let bytes: u64 = size.split_whitespace().last().unwrap().parse().unwrap();
    assert!((400_000_000..1_000_000_000).contains(&bytes), "{bytes} bytes");

    let run = of(&format!(
        "derivation {{ name = \"ran\"; system = builtins.currentSystem; builder = \"${{environment}}/bin/python\"; PATH = \"${{environment}}/bin\"; \
         args = [ \"-c\" \"{IMPORTS}\" ]; }}"
    ));
    assert_eq!(fs::read_to_string(nix.path(&nix.built(&run)[0])).unwrap(), "c");
    // What is fetched is what the lock says, again too.
    for fetched in ["akb.fetch r", "akb.fetchInputs r"] {
        nix.built(&of(fetched));
        nix.check(&of(fetched)).ok();
    }
}

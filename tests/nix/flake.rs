//! The flakes: with nixpkgs (a stub of the few attributes that are named), without, and the template.

use crate::harness::{Nix, base};
use crate::world::{World, copy, repository};

/// What the flake reads of the repository, copied: `path:` would take the build folder along.
fn flake() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(base()).unwrap();
    for name in ["flake.nix", "nix", "Cargo.toml", "Cargo.lock", "src", "builder", "python-shim", "vendor-hashes"] {
        copy(&repository(name), &folder.path().join(name));
    }
    for test in akb::tree::list(&repository("tests")).unwrap() {
        copy(&test, &folder.path().join("tests").join(test.file_name().unwrap()));
    }
    folder
}

#[test]
fn the_flake_evaluates_against_what_it_names_of_nixpkgs() {
    let flake = flake();
    let at = |attribute: &str| format!("path:{}#{attribute}", flake.path().display());
    let stub = format!("path:{}", repository("tests/nix/stub").display());
    for nix in [Nix::old(), Nix::new()] {
        let eval = |attribute: &str, apply: &str| {
            let options = ["--override-input", "nixpkgs", &stub, "--no-write-lock-file", "--json", "--apply", apply];
            nix.run("nix", &[&["eval", &at(attribute)], &options[..]].concat()).ok()
        };
        let names = "builtins.mapAttrs (_: builtins.attrNames)";
        assert_eq!(
            eval("packages", names).trim(),
            r#"{"aarch64-linux":["akb","default"],"x86_64-linux":["akb","authentik-deps","default"]}"#
        );
        let lib = eval("lib.aarch64-linux", "builtins.attrNames");
        for name in ["build", "fetch", "wheels", "inputs", "site", "relink"] {
            assert!(lib.contains(&format!("\"{name}\"")), "{name} in {lib}");
        }
        let paths = eval("checks.x86_64-linux", "builtins.mapAttrs (_: check: check.drvPath)");
        assert!(paths.contains("authentik-deps-2026.2.0-files.drv"), "{paths}");
        let source = eval("packages.x86_64-linux.akb", "akb: builtins.attrNames (builtins.readDir akb.src)");
        assert_eq!(
            source.trim(),
            r#"["Cargo.lock","Cargo.toml","builder","python-shim","src","tests","vendor-hashes"]"#
        );
        assert!(eval("templates.default", "t: builtins.readDir t.path").contains("flake.nix"));
    }
}

/// `inputs.akb.url = "…?dir=nix"`: nothing of nixpkgs is asked for.
#[test]
fn the_functions_are_a_flake_without_inputs() {
    let world = World::small();
    let flake = format!("path:{}", repository("nix").display());
    for nix in [Nix::old(), Nix::new()] {
        let apply =
            format!("lib: ((lib.x86_64-linux \"/no/akb\").fetch {{ src = {}; }}).outPath", world.project().display());
        let options = ["eval", &format!("{flake}#lib"), "--impure", "--raw", "--no-write-lock-file", "--apply", &apply];
        let path = nix.run("nix", &options).ok();
        assert_eq!(nix.eval(&world.expression("(akb.fetch p).outPath")), path.trim());
    }
}

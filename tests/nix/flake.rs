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

/// `inputs.akb.url = "…?dir=nix"`: nothing of nixpkgs is asked for, and a flake's own source is a project.
#[test]
fn the_functions_are_a_flake_without_inputs() {
    let world = World::small().own();
    let flake = format!(
        "{{ inputs.akb.url = \"path:{}\"; outputs = {{ self, akb }}: builtins.mapAttrs \
         (_: src: ((akb.lib.x86_64-linux \"/no/akb\").build {{ inherit src; wheels = true; }}).drvPath) \
         {{ path = ./.; self = self; text = \"${{self}}\"; }}; }}",
        repository("nix").display()
    );
    std::fs::write(world.project().join("flake.nix"), flake).unwrap();
    for nix in [Nix::old(), Nix::new()] {
        let path = |name: &str| {
            let attribute = format!("path:{}#{name}", world.project().display());
            nix.run("nix", &["eval", "--raw", "--no-write-lock-file", &attribute]).ok()
        };
        assert!(path("path").ends_with("-small-1.0.drv"));
        assert_eq!(path("path"), path("self"));
        assert_eq!(path("path"), path("text"));
    }
}

//! Wrong uses: each is one clear message, in the log of the build or of the evaluation.

use crate::harness::Nix;
use crate::world::{AKB, World};

/// A derivation with just these attributes.
fn plain(attributes: &str) -> String {
    format!("derivation {{ name = \"x\"; system = builtins.currentSystem; builder = {AKB}; {attributes} }}")
}

#[test]
fn wrong_uses_are_told_in_the_log() {
    let world = World::small();
    let (project, unlocked) = (world.project(), world.own());
    std::fs::remove_file(unlocked.project().join("akb.lock")).unwrap();
    let elsewhere = world.own();
    elsewhere.replace("akb.lock", "platform = \"x86_64-", "platform = \"aarch64-");
    let (project, unlocked, elsewhere) =
        (project.display(), unlocked.project().display().to_string(), elsewhere.project().display().to_string());
    let cases: Vec<(&str, String, Vec<&str>)> = vec![
        ("no subject", plain(""), vec!["no attribute `src`", "src = ./."]),
        ("unknown stage", plain("stage = \"biuld\";"), vec!["`stage` is `biuld`", "fetch-inputs"]),
        ("no lock", plain(&format!("src = {unlocked};")), vec!["akb.lock` does not exist", "run `akb lock`"]),
        (
            "a fetch without hash",
            plain(&format!("stage = \"fetch\"; src = {project};")),
            vec!["gives it no network", "outputHash = "],
        ),
        (
            "a build without files",
            world.expression("akb.build (p // { files = [ ]; })"),
            vec!["the network is switched off", "docopt-0.6.2.tar.gz", "a build has no network", "`files`"],
        ),
        (
            "a build without packages",
            plain(&format!("src = {project}; debs = [ {project} ];")),
            vec!["offline, and the cache lacks", "a build has no network", "`debs`"],
        ),
        (
            "a build without inputs",
            plain(&format!("src = {project}; files = [ ];")),
            vec!["neither `debs` nor `inputs`"],
        ),
        (
            "a wheel of what",
            plain(&format!("stage = \"wheel\"; src = {project}; debs = [ {project} ];")),
            vec!["no attribute `package`"],
        ),
        ("another machine", plain(&format!("src = {elsewhere};")), vec!["akb.lock is for aarch64", "x86_64-linux"]),
    ];
    for nix in [Nix::old(), Nix::new()] {
        for (name, expression, expected) in &cases {
            let outcome = nix.build(expression);
            assert_ne!(outcome.code, Some(0), "{name}");
            for part in expected {
                assert!(outcome.log.contains(part), "{name}: {part} in {}", outcome.log);
            }
            // Nix has a line of its own about each derivation that failed.
            let own = |line: &&str| line.starts_with("error: ") && !line.contains(".drv'");
            assert_eq!(outcome.log.lines().filter(own).count(), 1, "{name}: one message: {}", outcome.log);
        }
    }
}

#[test]
fn wrong_uses_of_the_functions_are_told_by_the_evaluation() {
    let world = World::small();
    let unlocked = world.own();
    std::fs::remove_file(unlocked.project().join("akb.lock")).unwrap();
    let elsewhere = world.own();
    elsewhere.replace("akb.lock", "platform = \"x86_64-", "platform = \"aarch64-");
    let git = world.own();
    let line = git.read("akb.lock").lines().find(|line| line.starts_with("fetch-hash")).unwrap().to_owned();
    git.replace("akb.lock", &line, "");
    for nix in [Nix::old(), Nix::new()] {
        for (expression, expected) in [
            (unlocked.expression("(akb.build p).drvPath"), "akb.lock does not exist: run `akb lock DIR`"),
            (world.expression("(akb.build { }).drvPath"), "nothing to build: give `src`"),
            (world.expression("(akb.fetch { release = \"x@1\"; }).drvPath"), "authentik-deps@2026.2.0"),
            (elsewhere.expression("(akb.build p).drvPath"), "akb.lock is for aarch64-"),
            (git.expression("(akb.fetch p).drvPath"), "use `fetchFiles`"),
            (world.expression("(akb.site p).drvPath"), "give its `hash`"),
        ] {
            let log = nix.eval_fails(&expression);
            assert!(log.contains(expected), "{expected} in {log}");
        }
    }
}

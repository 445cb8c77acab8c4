//! What the functions of nix/ evaluate to: nothing is built here.

use serde_json::Value;

use crate::harness::Nix;
use crate::world::{World, repository};

/// Store paths of the wheels and of the environment: where one stays the same, nothing is built again.
const PATHS: &str = "{ wheels = builtins.mapAttrs (_: wheel: wheel.outPath) (akb.wheels p); \
                     environment = (akb.build (p // { wheels = true; })).outPath; \
                     fetch = (akb.fetch p).outPath; }";

fn paths(nix: &Nix, world: &World) -> Value {
    nix.eval(&world.expression(PATHS))
}

/// The application, another package, or the recipe of another package changes: nothing is compiled again.
#[test]
fn a_wheel_depends_on_its_own_sources_alone() {
    let small = World::small();
    for nix in [Nix::old(), Nix::new()] {
        let before = paths(&nix, &small);
        let names: Vec<_> = before["wheels"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["docopt 0.6.2", "markupsafe 3.0.4"]);

        let world = small.own();
        std::fs::write(world.project().join("application.py"), "print('new')\n").unwrap();
        assert_eq!(paths(&nix, &world), before, "a file that is no part of the environment");

        let world = small.own();
        world.replace("akb.lock", "name = \"wcwidth\"", "name = \"wcwidths\"");
        let after = paths(&nix, &world);
        assert_eq!(after["wheels"], before["wheels"], "another package");
        assert_ne!(after["environment"], before["environment"]);

        let world = small.own();
        world.replace("akb.toml", "[project]", "[package.MarkupSafe]\ncflags = [\"-O3\"]\n\n[project]");
        let after = paths(&nix, &world);
        assert_eq!(after["wheels"]["docopt 0.6.2"], before["wheels"]["docopt 0.6.2"], "another package's flags");
        assert_ne!(after["wheels"]["markupsafe 3.0.4"], before["wheels"]["markupsafe 3.0.4"], "its own flags");
    }
}

/// lxml is compiled against nothing that xmlsec needs, but xmlsec against lxml.
#[test]
fn a_wheel_depends_on_those_that_build_it() {
    let world = World::small();
    let lock = include_str!("../../vendor-hashes/authentik-2026.2.0.lock");
    let path = world.path("authentik.lock");
    let wheels = |nix: &Nix, old: &str, new: &str| {
        assert!(lock.contains(old), "{old}");
        std::fs::write(&path, lock.replace(old, new)).unwrap();
        let lock = format!("{{ lock = {}; inputs = [ ]; }}", path.display());
        nix.eval(&world.expression(&format!("builtins.mapAttrs (_: wheel: wheel.outPath) (akb.wheels {lock})")))
    };
    let nix = Nix::old();
    let before = wheels(&nix, "", "");
    let changed = |after: &Value| {
        let names = before.as_object().unwrap().keys().filter(|name| before[*name] != after[*name]);
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(changed(&wheels(&nix, "xmlsec-1.3.17.tar.gz", "xmlsec-1.3.17.tgz")), "xmlsec 1.3.17");
    assert_eq!(changed(&wheels(&nix, "lxml-6.0.2.tar.gz", "lxml-6.0.2.tgz")), "lxml 6.0.2, xmlsec 1.3.17");
    assert_eq!(changed(&wheels(&nix, "aiohttp-3.13.3", "aiohttp-3.13.4")), "");
}

/// Names of packages and files that the store would refuse.
#[test]
fn names_are_made_fit_for_the_store() {
    let names = "map (import NIX/text.nix).storeName [ \"1!2.0+cu%31.whl\" \".hidden\" \"a b/c\" \"\" ]";
    let nix = repository("nix").display().to_string();
    for version in [Nix::old(), Nix::new()] {
        let made = version.eval(&names.replace("NIX", &nix));
        assert_eq!(made, serde_json::json!(["1-2.0+cu-31.whl", "_.hidden", "a-b-c", "file"]));
    }
}

//! Builds against store paths: the result refers to them, and a site to nothing at all.

use std::collections::BTreeSet;
use std::fs;

use crate::build::runs;
use crate::harness::Nix;
use crate::world::World;

/// Debian packages as store paths that run from there.
const REFERRING: &str = "let i = akb.inputs p; q = p // { inputs = [ i.out i.dev ]; }; in";

/// The closure is the tree, Python and libraries; compiler and headers stay behind.
#[test]
fn a_tree_refers_to_its_inputs_and_to_nothing_of_the_compiler() {
    let world = World::small();
    for nix in [Nix::old(), Nix::new()] {
        let of = |tail: &str| world.expression(&format!("{REFERRING} {tail}"));
        let environment = of("akb.build (q // { wheels = true; allowedReferences = [ \"out\" i.out ]; })");
        let tree = nix.built(&environment).remove(0);
        runs(&nix, &tree);
        let runtime = nix.built(&of("i.out")).remove(0);
        let mut expected = vec![tree.clone(), runtime];
        expected.sort();
        assert_eq!(nix.query("--requisites", &tree), expected);
        nix.check(&of("akb.inputs p")).ok();
        nix.check(&environment).ok();
    }
}

/// What a recipe names stays alive with the tree, also where only builds would need it.
#[test]
fn a_substitution_may_name_an_input() {
    let world = World::small().own();
    let rule = "[[substitute]]\nfiles = [\"share/inputs\"]\nnew = true\n\
                contents = \"{inputs.debian-forky}/lib:{inputs.debian-forky-dev}/bin\"\n";
    fs::write(world.project().join("akb.toml"), world.read("akb.toml") + "\n" + rule).unwrap();
    world.lock();
    let nix = Nix::new();
    let of = |tail: &str| world.expression(&format!("{REFERRING} {tail}"));
    let [tree, out, dev] = ["akb.build q", "i.out", "i.dev"].map(|tail| nix.built(&of(tail)).remove(0));
    let text = fs::read_to_string(nix.path(&tree).join("share/inputs")).unwrap();
    assert_eq!(text, format!("{out}/lib:{dev}/bin"));
    let mut expected = vec![tree.clone(), out, dev];
    expected.sort();
    assert_eq!(nix.query("--requisites", &tree), expected);
}

/// The hashes that stand before the names of store paths.
fn hashes(nix: &Nix) -> BTreeSet<Vec<u8>> {
    let store = fs::read_dir(nix.path("/nix/store")).unwrap();
    let names = store.map(|entry| entry.unwrap().file_name().into_encoded_bytes());
    names.filter(|name| name.len() > 32 && name[32] == b'-').map(|name| name[..32].to_vec()).collect()
}

/// Places in `folder` where one of `hashes` stands: contents, names, texts of links.
fn left(folder: &std::path::Path, hashes: &BTreeSet<Vec<u8>>) -> Vec<String> {
    let found = |bytes: &[u8]| {
        let runs = bytes.split(|byte| !byte.is_ascii_digit() && !byte.is_ascii_lowercase());
        runs.filter(|run| run.len() >= 32).any(|run| run.windows(32).any(|window| hashes.contains(window)))
    };
    let mut left = Vec::new();
    for node in akb::tree::walk(folder).unwrap() {
        let path = folder.join(&node.path);
        let bytes = match fs::read_link(&path) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) if path.is_file() => fs::read(&path).unwrap(),
            Err(_) => Vec::new(),
        };
        if found(&bytes) || found(node.path.as_os_str().as_encoded_bytes()) {
            left.push(node.path.display().to_string());
        }
    }
    left
}

/// The seed's pattern. What was compiled against store paths names them, and a fixed output must not; the second half
/// refers to them again.
#[test]
fn a_site_holds_no_reference() {
    let world = World::small();
    for nix in [Nix::old(), Nix::new()] {
        let site = |hash: &str| {
            world.expression(&format!("{REFERRING} akb.site (q // {{ wheels = true; hash = \"{hash}\"; }})"))
        };
        let unknown = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let log = nix.build(&site(unknown)).fails(102);
        let hash = log.lines().find_map(|line| line.trim().strip_prefix("got:")).unwrap().trim().to_owned();
        let built = nix.built(&site(&hash)).remove(0);
        let folder = nix.path(&built);
        assert_eq!(nix.query("--references", &built), [""; 0]);
        assert_eq!(left(&folder, &hashes(&nix)), [""; 0]);
        assert!(folder.join("lib/python3.14/site-packages/docopt.py").is_file());
        nix.check(&site(&hash)).ok();

        let site = format!("akb.site (q // {{ wheels = true; hash = \"{hash}\"; }})");
        let relinked =
            format!("{REFERRING} akb.relink (q // {{ site = {site}; allowedReferences = [ \"out\" i.out ]; }})");
        let tree = nix.built(&world.expression(&relinked)).remove(0);
        runs(&nix, &tree);
        nix.check(&world.expression(&relinked)).ok();
    }
}

/// psycopg-c wants libpq, which the inputs of another project do not have.
#[test]
fn a_missing_library_is_named() {
    let world = World::small();
    let lock = crate::world::repository("vendor-hashes/authentik-2026.2.0.lock");
    let wheel =
        format!("(akb.wheels (removeAttrs q [ \"src\" ] // {{ lock = {}; }})).\"psycopg-c 3.3.2\"", lock.display());
    let nix = Nix::old();
    let outcome = nix.build(&world.expression(&format!("{REFERRING} {wheel}")));
    assert_ne!(outcome.code, Some(0));
    for part in ["psycopg-c 3.3.2 does not build", "pg_config", "libpq"] {
        assert!(outcome.log.contains(part), "{part} in {}", outcome.log);
    }
}

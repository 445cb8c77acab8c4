//! Fixed-output derivations: what is fetched, by whom, and what is refused.

use std::collections::BTreeMap;

use akb::digest::Sha256;

use crate::harness::Nix;
use crate::server::Server;
use crate::world::{AKB, World};

const FILE: &str = "a_b-1.0-py3-none-any.whl";
const BYTES: &[u8] = b"the bytes of a wheel, as far as a download is concerned";

/// A derivation that fetches [`FILE`]. `attributes` come last.
fn one(index: &Server, hash: &str, attributes: &str) -> String {
    format!(
        r#"derivation ({{
            name = "file"; system = builtins.currentSystem; builder = "${{{AKB}}}"; stage = "fetch-file";
            file = "{FILE}"; project = "a-b"; index = [ "{}" ];
            outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "{hash}";
        }} // {attributes})"#,
        index.at("/simple/")
    )
}

/// Plain environment, files, JSON: the same attributes.
#[test]
fn attributes_arrive_in_all_three_ways() {
    let index = Server::index("a-b", FILE, BYTES);
    let hash = Sha256::of(BYTES).hex();
    for nix in [Nix::old(), Nix::new()] {
        for (name, attributes) in [
            ("plain", ""),
            ("files", r#"passAsFile = [ "file" "project" "index" ];"#),
            ("structured", "__structuredAttrs = true;"),
        ] {
            let expression = one(&index, &hash, &format!("{{ name = \"{name}\"; {attributes} }}"));
            let outputs = nix.built(&expression);
            assert_eq!(std::fs::read(nix.path(&outputs[0])).unwrap(), BYTES, "{name}");
        }
    }
}

#[test]
fn a_poisoned_file_is_told_with_both_hashes() {
    let poisoned = b"something else, of another hash, in the same place of the index";
    let index = Server::index("a-b", FILE, poisoned);
    let (expected, found) = (Sha256::of(BYTES).hex(), Sha256::of(poisoned).hex());
    for nix in [Nix::old(), Nix::new()] {
        let outcome = nix.build(&one(&index, &expected, "{ }"));
        assert_ne!(outcome.code, Some(0));
        for part in [FILE, &expected, &found] {
            assert!(outcome.log.contains(part), "{part} in {}", outcome.log);
        }
    }
}

/// One `builtin:fetchurl` for each file where addresses are known: no akb, no index.
#[test]
fn files_of_stable_addresses_need_no_akb() {
    let world = World::small();
    let nix = Nix::old();
    let fetched = nix.path(&nix.built(&world.expression("akb.fetch p"))[0]);
    let files: BTreeMap<_, _> = akb::tree::list(&fetched)
        .unwrap()
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (format!("/{name}"), std::fs::read(&path).unwrap())
        })
        .collect();
    assert_eq!(files.len(), 5);
    let mirror = Server::new(files);
    let expression = world.expression(&format!(
        "akb.fetchFiles (p // {{ akb = throw \"akb is not needed\"; urlOf = entry: \"{}${{entry.file}}\"; }})",
        mirror.at("/")
    ));
    for nix in [Nix::old(), Nix::new()] {
        assert_eq!(nix.built(&expression).len(), 5);
    }
}

/// The hash that `akb lock` writes is that of what is fetched, and of nothing else.
#[test]
fn another_lock_has_another_hash() {
    let world = World::small();
    let other = world.own();
    let (text, line) = (other.read("uv.lock"), "    { name = \"pyjokes\" },\n");
    assert!(text.contains(line));
    std::fs::write(other.project().join("uv.lock"), text.replace(line, "")).unwrap();
    other.lock();
    for nix in [Nix::old(), Nix::new()] {
        let path = |world: &World| nix.eval(&world.expression("(akb.fetch p).outPath"));
        assert_ne!(path(&world), path(&other));
        // Each is what comes out, again too.
        for world in [&*world, &other] {
            nix.built(&world.expression("akb.fetch p"));
            nix.check(&world.expression("akb.fetch p")).ok();
        }
        // The hash of one with the files of the other is refused.
        let hash = |text: String| text.lines().find_map(|line| line.strip_prefix("fetch-hash = ")).unwrap().to_owned();
        let (right, wrong) = (hash(world.read("akb.lock")), hash(other.read("akb.lock")));
        let mixed = world.own();
        mixed.replace("akb.lock", &right, &wrong);
        let log = nix.build(&mixed.expression("akb.fetch (p // { name = \"mixed\"; })")).fails(102);
        for hash in [right, wrong] {
            assert!(log.contains(hash.trim_matches('"')), "{hash} in {log}");
        }
    }
}

//! `akb plan` on locks that uv wrote, against selections that uv and pypa's packaging agree on.
//!
//! The locks name no index (`.invalid`, RFC 2606), and wheels for other systems were taken out of most. A
//! selection's names and versions are those of `uv export` with its markers evaluated by packaging, its files
//! those that packaging's tags rank first.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// Lock, expected selection, options.
const SELECTIONS: [(&str, &str, &str); 25] = [
    ("authentik-2026.2.0", "plain", "--python 3.14 --platform x86_64-manylinux_2_42"),
    ("authentik-2026.2.0", "deps-aarch64-musl", "--deps-only --platform aarch64-musllinux_1_2"),
    ("authentik-2026.2.0", "dev", "--group dev --platform x86_64-manylinux_2_28"),
    ("authentik-2025.12.4", "plain", "--python 3.13.7 --platform x86_64-manylinux_2_36"),
    ("forks", "cp39", "--python 3.9 --platform x86_64-manylinux_2_28"),
    ("forks", "cp310-aarch64", "--python 3.10 --platform aarch64-manylinux_2_28"),
    ("forks", "cp314-musl", "--python 3.14 --platform x86_64-musllinux_1_2"),
    ("conflicts", "plain", "--python 3.12 --platform x86_64-manylinux_2_28"),
    ("conflicts", "old", "--python 3.12 --platform x86_64-manylinux_2_28 --extra old --extra nothing"),
    ("conflicts", "third", "--python 3.12 --platform x86_64-manylinux_2_28 --extra third"),
    ("conflicts", "old-modern", "--python 3.12 --platform x86_64-manylinux_2_28 --extra OLD --group modern"),
    ("groups", "plain", "--platform x86_64-manylinux_2_28 --no-dev --no-default-groups"),
    ("groups", "dev", "--platform x86_64-manylinux_2_28 --group dev"),
    ("groups", "default", "--platform x86_64-manylinux_2_28 --default-groups"),
    ("groups", "all-but-dev", "--platform x86_64-manylinux_2_28 --all-groups --no-dev"),
    ("groups", "only-lint", "--platform x86_64-manylinux_2_28 --only-group lint"),
    ("workspace", "plain", "--python 3.12 --platform x86_64-manylinux_2_28"),
    ("workspace", "deps", "--python 3.12 --platform x86_64-manylinux_2_28 --deps-only --all-packages"),
    ("workspace", "one", "--python 3.12 --platform x86_64-manylinux_2_28 --package ws_b --extra slow"),
    ("workspace", "only-dev", "--python 3.12 --platform x86_64-manylinux_2_28 --only-group dev"),
    ("members", "two", "--python 3.12 --platform x86_64-manylinux_2_28 --package two"),
    ("script", "cp311", "--python 3.11 --platform x86_64-manylinux_2_28"),
    ("script", "cp313", "--python 3.13 --platform aarch64-manylinux_2_36"),
    ("sources", "plain", "--python 3.12 --platform x86_64-manylinux_2_28"),
    ("links", "plain", "--python 3.12 --platform x86_64-manylinux_2_28"),
];

/// Lock, options, parts of the message.
const REFUSALS: [(&str, &str, &[&str]); 12] = [
    (
        "authentik-2026.2.0",
        "--python 3.13",
        &["`authentik` requires Python ==3.14.*", "has 3.13", "hint: choose a Python"],
    ),
    ("authentik-2026.2.0", "--package nope", &["no workspace member `nope`", "ak-guardian, authentik"]),
    ("forks", "", &["several Pythons (>=3.9)", "hint: name one: --python"]),
    (
        "conflicts",
        "--python 3.12 --extra old --extra new",
        &["extra `new`", "extra `old`", "cannot be installed together"],
    ),
    ("conflicts", "--python 3.12 --all-extras", &["cannot be installed together"]),
    ("conflicts", "--python 3.12 --group legacy --group modern", &["group `legacy`", "group `modern`"]),
    ("groups", "--group nope", &["no dependency group `nope`", "dev, docs-x, empty, lint, test"]),
    ("groups", "--extra nope", &["no extra `nope`"]),
    ("members", "--python 3.12 --all-packages", &["`one`", "`two`", "cannot be installed together"]),
    ("environments", "--python 3.12", &["only for sys_platform == 'win32'", "Python 3.12 on", "hint:"]),
    ("markers", "--python 3.12", &["nothing is left to install", "`idna; sys_platform == 'win32'`", "hint:"]),
    ("", "--python 3.12", &["no `uv.lock`", "uv lock"]),
];

fn locks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/locks")
}

fn plan(lock: &str, options: &str) -> Output {
    let mut command = Command::cargo_bin("akb").unwrap();
    command.env_clear().env("HOME", "/nonexistent").arg("plan").arg(locks().join(lock));
    command.args(options.split_whitespace()).output().unwrap()
}

#[test]
fn selections_equal_those_of_uv() {
    for (lock, name, options) in SELECTIONS {
        let output = plan(lock, &format!("{options} --format tsv"));
        let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{lock} {options}: {errors}");
        let expected = std::fs::read_to_string(locks().join(lock).join(format!("{name}.tsv"))).unwrap();
        assert_eq!(text, expected, "{lock} {options}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (lock, options, parts) in REFUSALS {
        let output = plan(lock, options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{lock} {options}: {errors}");
        for part in parts {
            assert!(errors.contains(part), "{lock} {options}: expected {part:?} in: {errors}");
        }
    }
}

#[test]
fn json_names_no_address_that_the_lock_has_not() {
    let output = plan("sources", "--python 3.12 --format json");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let origin = |name: &str| {
        let packages = plan["packages"].as_array().unwrap();
        packages.iter().find(|package| package["name"] == name).unwrap()["origin"].clone()
    };
    assert_eq!(origin("attrs")["url"], serde_json::Value::Null);
    assert_eq!(origin("attrs")["index"], serde_json::Value::Null);
    assert_eq!(origin("gitpkg")["repository"], "https://git.invalid/gitpkg.git");
    assert_eq!(origin("gitpkg")["subdirectory"], "sub");
    assert_eq!(origin("six")["path"], "files/six-1.16.0.tar.gz");
}

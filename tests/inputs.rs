//! Debian inputs from the real archive, which the host's apt configuration or the public default names.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::Command;

use akb::cache::Cache;
use akb::inputs::debian::{self, Archive, KEYRING, Keyring, Trust, Use, Wish, address};
use akb::net::{Net, NetConfig};
use akb::report::Silent;
use akb::request::Arch;

#[expect(clippy::disallowed_methods, reason = "a test stands where the command does")]
fn net() -> Net {
    let env = |name: &str| std::env::var(name).ok();
    Net::new(NetConfig::from_env(&env, None), &Silent).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test stands where the command does")]
fn pythons_of_two_suites_run() {
    let arch = Arch::host().unwrap();
    let (folder, net) = (tempfile::tempdir().unwrap(), net());
    let cache = Cache::open(folder.path()).unwrap();
    let host = address::hosts_archive(Path::new("/"));
    let archive = Archive {
        addresses: address::addresses(None, None, host.as_deref()).unwrap(),
        net: Some(&net),
        cache: &cache,
        reporter: &Silent,
    };
    let keyring = Keyring::parse(KEYRING).unwrap();
    let trust = Trust { keyring: &keyring, now: std::time::SystemTime::now(), strict: false };
    // bookworm's index comes unmerged: its C library is below /lib.
    for (suite, python) in [("forky", "3.14"), ("bookworm", "3.11")] {
        let python = python.parse().unwrap();
        let wish = Wish { suite: Some(suite.to_owned()), packages: Vec::new(), arch, python, compiles: false };
        let resolved = debian::resolve(&wish, &archive, &trust).unwrap();
        assert_eq!(resolved.suite, suite);
        assert!(debian::covers(&wish, &resolved.pins));
        let wanted = Use { suite: resolved.suite, arch, python };
        let inputs = debian::realise(&resolved.pins, &wanted, &archive, 2).unwrap();

        // The loader finds its libraries where it is told: nothing of this machine's is used.
        let here = |path: &Path| inputs.locate(path).unwrap();
        let libraries: Vec<_> = inputs.libraries.iter().map(|path| here(path).display().to_string()).collect();
        let output = Command::new(here(&inputs.interpreter))
            .args(["--inhibit-cache", "--library-path", &libraries.join(":")])
            .arg(here(&inputs.python))
            .args(["-I", "-S", "-c"])
            .arg(
                "import ssl, sqlite3, ctypes, lzma, sys, platform; print(sys.version.split()[0], *platform.libc_ver())",
            )
            .env_clear()
            .env("PYTHONHOME", here(Path::new("/usr")))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let libc = inputs.target.platform.to_string().rsplit("linux_").next().unwrap().replace('_', ".");
        assert_eq!(said.trim(), format!("{} glibc {libc}", inputs.target.python));

        // A second time nothing is asked of the network.
        let offline = Archive { addresses: Vec::new(), net: None, cache: &cache, reporter: &Silent };
        assert_eq!(debian::realise(&resolved.pins, &wanted, &offline, 1).unwrap().identity, inputs.identity);
    }
}

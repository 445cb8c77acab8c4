//! The README's first command, and what a person does with its result.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env_clear().current_dir("/").output().unwrap();
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{} {arguments:?}: {}\n{shown}", program.display(), output.status);
    text(&output.stdout)
}

/// Signs a document with xmlsec and a key of cryptography's, and verifies it: lxml, xmlsec and OpenSSL in one
/// process, on one libxml2.
const SIGN: &str = r#"
import xmlsec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives import serialization as s
from lxml import etree
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
root = etree.fromstring("<a><b ID='x'>text</b></a>")
node = xmlsec.template.create(root, xmlsec.Transform.EXCL_C14N, xmlsec.Transform.RSA_SHA256)
root.append(node)
reference = xmlsec.template.add_reference(node, xmlsec.Transform.SHA256)
xmlsec.template.add_transform(reference, xmlsec.Transform.ENVELOPED)
xmlsec.template.ensure_key_info(node)
context = xmlsec.SignatureContext()
context.key = xmlsec.Key.from_memory(pem, xmlsec.KeyFormat.PEM)
context.sign(node)
again = etree.fromstring(etree.tostring(root))
public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
check = xmlsec.SignatureContext()
check.key = xmlsec.Key.from_memory(public, xmlsec.KeyFormat.PEM)
signature = xmlsec.tree.find_node(again, xmlsec.constants.NodeSignature)
check.verify(signature)
again[0].text = "other"
try:
    check = xmlsec.SignatureContext()
    check.key = xmlsec.Key.from_memory(public, xmlsec.KeyFormat.PEM)
    check.verify(signature)
except xmlsec.Error:
    print("signed, verified, forgery refused")
"#;

/// All code that is mapped into the process lies in the tree (the host's locale is configuration).
const MAPPED: &str = r"
import sys, lxml.etree, xmlsec, psycopg, gssapi, kadmin, cryptography, ssl, sqlite3, ctypes, socket
socket.getaddrinfo('localhost', 80)
lines = (line.split(None, 5) for line in open('/proc/self/maps') if '/' in line)
files = {fields[5].strip() for fields in lines if 'x' in fields[1]}
print(sorted(file for file in files if not file.startswith(sys.prefix)))
";

#[test]
fn authentiks_dependencies_build_and_run() {
    let world = tempfile::tempdir().unwrap();
    let tree: PathBuf = world.path().join("result");
    let output = Command::new(env!("CARGO_BIN_EXE_akb"))
        .args(["build", "authentik-deps@2026.2.0"])
        .env("HOME", world.path().join("home"))
        .env_remove("XDG_CACHE_HOME")
        .env_remove("AKB_CACHE")
        .current_dir(world.path())
        .output()
        .unwrap();
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("175 packages"), "{shown}");

    let python = tree.join("bin/python");
    let imports = "import django, lxml.etree, xmlsec, psycopg, gssapi, kadmin, cryptography, pydantic_core, orjson, uvloop, \
                   opencontainers; import psycopg.pq; print(psycopg.pq.__impl__)";
    assert_eq!(run(&python, &["-c", imports]), "c\n");
    assert_eq!(run(&python, &["-c", SIGN]), "signed, verified, forgery refused\n");
    assert_eq!(run(&python, &["-c", MAPPED]), "[]\n");
    assert!(run(&tree.join("bin/gunicorn"), &["--version"]).contains("gunicorn"));

    let verified = Command::new(env!("CARGO_BIN_EXE_akb"))
        .args(["verify", "result"])
        .env("HOME", world.path().join("home"))
        .current_dir(world.path())
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
}

//! A small tree of packages, with made-up programs and libraries.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::relink::elf::Image;
use crate::relink::elf::sample::Sample;
use crate::report::Silent;
use crate::tree::{self, Kind};

const LIB: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// What `seal` expects of a dynamic linker.
const LOADER_DATA: &[u8] = b"/etc/ld.so.cache\0/etc/ld.so.preload\0/usr/lib/\0/lib/\0";

struct World {
    folder: tempfile::TempDir,
}

/// All names of a result: permissions and bytes of files, texts of links.
type Snapshot = BTreeMap<String, (u32, Vec<u8>)>;

impl World {
    /// A tree with an interpreter, a dynamic linker and a library that can be linked.
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        world.program("usr/bin/python3.14", &["libz.so.1"], b"");
        world.library("ld-linux-x86-64.so.2", &[], LOADER_DATA);
        world.link("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        world.library("libz.so.1", &[], b"");
        world.link(&format!("{LIB}/libz.so"), "libz.so.1");
        world.text("usr/lib/python3.14/os.py", "#! /usr/bin/env python3\nx = '/usr/bin'\n");
        world
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.folder.path().join("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn text(&self, name: &str, text: &str) {
        self.put(name, text.as_bytes(), if name.contains("/bin/") { 0o755 } else { 0o644 });
    }

    fn link(&self, name: &str, to: &str) {
        let path = self.folder.path().join("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    fn program(&self, name: &str, needed: &[&str], constants: &[u8]) {
        let needed = needed.iter().map(|&name| name.to_owned()).collect();
        let sample = Sample { interpreter: Some(LOADER), needed, constants: constants.to_vec(), ..Sample::default() };
        self.put(name, &sample.make(), 0o755);
    }

    fn library(&self, soname: &str, needed: &[&str], constants: &[u8]) {
        let needed = needed.iter().map(|&name| name.to_owned()).collect();
        let (soname, name) = (Some(soname.to_owned()), format!("{LIB}/{soname}"));
        let sample = Sample { soname, needed, constants: constants.to_vec(), ..Sample::default() };
        self.put(&name, &sample.make(), 0o644);
    }

    fn outputs(&self, written: &str) -> Outputs {
        let place = |name: &str| Place {
            write_to: self.folder.path().join(written).join(name),
            finally_at: Path::new("/store").join(name),
        };
        Outputs { runtime: place("out"), dev: place("dev") }
    }

    fn try_relocate(&self, written: &str, jobs: usize) -> Result<Relocated, RelocateError> {
        let target = Target { python: "3.14.2".parse().unwrap(), platform: "x86_64-manylinux_2_42".parse().unwrap() };
        relocate(&self.folder.path().join("tree"), &self.outputs(written), &target, jobs, &Silent)
    }

    /// What became of the tree, by name such as `dev/bin/cc`.
    fn relocated(&self) -> Snapshot {
        self.try_relocate("w", 2).unwrap();
        self.snapshot("w")
    }

    fn snapshot(&self, written: &str) -> Snapshot {
        let root = self.folder.path().join(written);
        let content = |node: tree::Node| {
            let path = root.join(&node.path);
            let content = match node.kind {
                Kind::Link { target } => (0, target.into_os_string().into_encoded_bytes()),
                Kind::Dir => (1, Vec::new()),
                Kind::File { .. } => {
                    (fs::metadata(&path).unwrap().permissions().mode() & 0o777, fs::read(&path).unwrap())
                }
            };
            (node.path.display().to_string(), content)
        };
        tree::walk(&root).unwrap().into_iter().map(content).collect()
    }
}

fn said(snapshot: &Snapshot, name: &str) -> String {
    String::from_utf8(snapshot.get(name).unwrap_or_else(|| panic!("{name} is missing")).1.clone()).unwrap()
}

fn image(snapshot: &Snapshot, name: &str) -> (Option<String>, String) {
    let image = Image::read(&snapshot[name].1).unwrap().unwrap();
    (image.interpreter.clone(), image.search_folders().collect::<Vec<_>>().join(":"))
}

#[test]
fn programs_run_from_the_runtime() {
    let world = World::new();
    world.program("usr/sbin/tool", &["libtool.so.1", "libz.so.1"], b"");
    world.library("libtool.so.1", &["libz.so.1"], b"");
    let made = world.relocated();
    let loader = Some("/store/out/lib/ld-linux-x86-64.so.2".to_owned());
    assert_eq!(image(&made, "out/bin/python3.14"), (loader.clone(), "/store/out/lib".into()));
    assert_eq!(image(&made, "dev/bin/tool"), (loader, "/store/out/lib:/store/dev/lib".into()));
    // Only a tool needs it, so that it must not keep the tool alive.
    assert_eq!(image(&made, "dev/lib/libtool.so.1").1, "/store/out/lib:/store/dev/lib");
    assert!(!made.contains_key("out/lib/libtool.so.1"));
    assert_eq!(said(&made, "dev/lib/libz.so"), "/store/out/lib/libz.so.1");
    assert_eq!(said(&made, "out/lib/libz.so"), "libz.so.1");
    assert_eq!(said(&made, "out/bin/python3"), "python3.14");
    assert_eq!(said(&made, "out/lib/x86_64-linux-gnu"), ".");
    // The dynamic linker itself is closed, but not edited.
    let loader = &made["out/lib/ld-linux-x86-64.so.2"].1;
    assert!(memchr::memmem::find(loader, b"/akb/ld.so.cache").is_some());
    assert!(memchr::memmem::find(loader, b"/store").is_none());
}

#[test]
fn a_library_that_wheels_may_need_is_of_the_runtime_though_only_a_tool_does() {
    let world = World::new();
    world.program("usr/bin/tool", &["libcrypt.so.1"], b"");
    world.library("libcrypt.so.1", &[], b"");
    assert!(world.relocated().contains_key("out/lib/libcrypt.so.1"));
}

#[test]
fn texts_say_where_things_are() {
    let world = World::new();
    world.text("usr/bin/dash", "shell");
    world.link("usr/bin/sh", "dash");
    world.text("usr/bin/a-config", "#!/bin/sh -e\nprefix=/usr\necho -L/usr/lib/x86_64-linux-gnu -I/usr/include/a\n");
    world.text("usr/bin/pydoc", "#! /usr/bin/python3.14\n");
    world.text("usr/bin/ldd", "#!/bin/bash\n");
    world.text(&format!("{LIB}/pkgconfig/a.pc"), "prefix=/usr\nlibdir=${prefix}/lib/x86_64-linux-gnu\n");
    world.text(&format!("{LIB}/libc.so"), "GROUP ( /usr/lib/x86_64-linux-gnu/libc.so.6 /lib64/ld-linux.so.2 )\n");
    world.text("usr/include/a/a.h", "#define DIR \"/usr/share/a\"\n");
    world.text("usr/include/python3.14/Python.h", "");
    world.text("usr/include/python3.14/pyconfig.h", "#include <x86_64-linux-gnu/python3.14/pyconfig.h>");
    world.text("usr/include/x86_64-linux-gnu/python3.14/pyconfig.h", "real");
    let data = "build_time_vars = {'LIBDIR': '/usr/lib/x86_64-linux-gnu', 'INSTALL': '/usr/bin/a-config -c', \
                'INCLUDEPY': '/usr/include/python3.14', 'X': '/usr/share/none'}";
    world.text("usr/lib/python3.14/_sysconfigdata__x.py", data);
    let made = world.relocated();
    let config = "#!/store/dev/bin/sh -e\nprefix=/store/dev\necho -L/store/dev/lib -I/store/dev/include/a\n";
    assert_eq!(said(&made, "dev/bin/a-config"), config);
    assert_eq!(said(&made, "dev/bin/pydoc"), "#! /store/out/bin/python3.14\n");
    assert_eq!(said(&made, "dev/bin/ldd"), "#!/bin/bash\n");
    assert_eq!(said(&made, "dev/lib/pkgconfig/a.pc"), "prefix=/store/dev\nlibdir=${prefix}/lib/x86_64-linux-gnu\n");
    assert_eq!(said(&made, "dev/lib/libc.so"), "GROUP ( libc.so.6 ld-linux.so.2 )\n");
    assert_eq!(said(&made, "dev/include/a/a.h"), "#define DIR \"/usr/share/a\"\n");
    assert_eq!(said(&made, "out/include/python3.14/pyconfig.h"), "real");
    assert_eq!(said(&made, "dev/include/python3.14"), "/store/out/include/python3.14");
    assert_eq!(
        said(&made, "out/lib/python3.14/_sysconfigdata__x.py"),
        "build_time_vars = {'LIBDIR': '/store/out/lib', 'INSTALL': 'a-config -c', \
         'INCLUDEPY': '/store/out/include/python3.14', 'X': '/store/out/share/none'}"
    );
    // The runtime names nothing of the development files, not even an `env` that it could run.
    assert_eq!(said(&made, "out/lib/python3.14/os.py"), "#! /usr/bin/env python3\nx = '/usr/bin'\n");
}

#[test]
fn plug_ins_are_of_the_runtime_and_data_of_tools_is_not() {
    let world = World::new();
    let plugin = Sample { needed: vec!["libz.so.1".into()], ..Sample::default() }.make();
    world.put(&format!("{LIB}/krb5/plugins/p.so"), &plugin, 0o644);
    world.put(&format!("{LIB}/perl-base/auto/x.so"), &plugin, 0o644);
    world.put("usr/lib/gcc/x86_64-linux-gnu/16/plugin/p.so", &plugin, 0o644);
    world.text(&format!("{LIB}/cmake/a.cmake"), "set(x /usr/include)");
    world.text("usr/share/zoneinfo/UTC", "");
    world.text("usr/lib/python3.14/test/test_a.py", "");
    world.text("etc/passwd", "");
    world.link("usr/lib/python3.14/sitecustomize.py", "/etc/python3.14/sitecustomize.py");
    world.link(&format!("{LIB}/libgone.so"), "libgone.so.1");
    let made = world.relocated();
    for name in ["out/lib/krb5/plugins/p.so", "out/share/zoneinfo/UTC", "dev/lib/perl-base/auto/x.so"] {
        assert!(made.contains_key(name), "{name}");
    }
    assert_eq!(said(&made, "dev/lib/cmake/a.cmake"), "set(x /store/dev/include)");
    assert!(made.contains_key("dev/lib/gcc/x86_64-linux-gnu/16/plugin/p.so"));
    assert!(!made.keys().any(|name| name.contains("test_a") || name.contains("passwd") || name.contains("gone")));
    let done = world.try_relocate("again", 1).unwrap();
    assert_eq!(done.dangling, [format!("{LIB}/libgone.so")]);
}

#[test]
fn a_compiler_is_told_where_it_is() {
    let world = World::new();
    let data = b"/usr/bin/\0/usr/lib/gcc/\0startfile_prefix_spec\0COLLECT_GCC\0";
    world.program("usr/bin/x86_64-linux-gnu-gcc-16", &[], data);
    world.link("usr/bin/cc", "x86_64-linux-gnu-gcc-16");
    world.program("usr/libexec/gcc/x86_64-linux-gnu/16/collect2", &[], b"/usr/lib/x\0");
    world.program("usr/bin/as", &[], b"");
    let error = world.try_relocate("none", 1).unwrap_err();
    assert!(matches!(&error, RelocateError::Missing { missing } if missing == "/bin/sh"), "{error}");

    world.text("usr/bin/sh", "shell");
    let made = world.relocated();
    let script = "#!/store/dev/bin/sh\nexec /store/dev/unwrapped/x86_64-linux-gnu-gcc-16 \
                  --sysroot=/store/dev/libexec/akb/sysroot -specs=/store/dev/libexec/akb/specs -ffile-prefix-map=/store/dev=/akb/dev \"$@\"\n";
    assert_eq!(said(&made, "dev/bin/x86_64-linux-gnu-gcc-16"), script);
    assert_eq!(said(&made, "dev/bin/cc"), "x86_64-linux-gnu-gcc-16");
    assert_eq!(said(&made, "dev/libexec/gcc/x86_64-linux-gnu/16/as"), "../../../../bin/as");
    assert_eq!(said(&made, "dev/libexec/akb/sysroot/akb"), "../../..");
    let specs = said(&made, "dev/libexec/akb/specs");
    assert!(specs.contains("-rpath /store/out/lib}") && specs.contains("-dynamic-linker /store/out/lib/ld-linux"));
    // All of its folders move alike: it computes the way from one to the other.
    let driver = &made["dev/unwrapped/x86_64-linux-gnu-gcc-16"].1;
    let has = |text: &[u8]| memchr::memmem::find(driver, text).is_some();
    assert!(has(b"/akb/bin/\0/akb/lib/gcc/\0") && !has(b"/usr"));
}

#[test]
fn perl_and_pkg_config_are_told_their_folders() {
    let world = World::new();
    world.text("usr/bin/sh", "shell");
    world.program("usr/bin/perl", &[], b"");
    world.program("usr/bin/pkgconf", &[], b"");
    world.text(&format!("{LIB}/perl-base/strict.pm"), "");
    world.text(&format!("{LIB}/pkgconfig/a.pc"), "");
    let made = world.relocated();
    let perl = said(&made, "dev/bin/perl");
    assert!(perl.contains("export PERL5LIB=\"${PERL5LIB:+$PERL5LIB:}/store/dev/lib/perl-base\"\n"), "{perl}");
    let pkgconf = said(&made, "dev/bin/pkgconf");
    assert!(pkgconf.contains("\"${PKG_CONFIG_LIBDIR-/store/dev/lib/pkgconfig}\""), "{pkgconf}");
    assert!(made.contains_key("dev/unwrapped/perl"));
}

#[test]
fn the_same_bytes_wherever_and_however_they_are_written() {
    let world = World::new();
    world.program("usr/bin/tool", &["libz.so.1"], b"");
    for number in 0..40 {
        world.text(&format!("usr/share/a/{number}"), &format!("/usr/share/a/{}\n", number + 1));
    }
    let one = world.try_relocate("one", 1).unwrap();
    let two = world.try_relocate("a/much/longer/path", 4).unwrap();
    assert_eq!(one, two);
    assert_eq!(world.snapshot("one"), world.snapshot("a/much/longer/path"));
    let counted = world.snapshot("one").values().filter(|(mode, _)| *mode > 1).count() as u64;
    assert_eq!(one.runtime.files + one.dev.files, counted);
}

#[test]
fn what_still_says_usr_is_counted() {
    let world = World::new();
    world.text("usr/include/a.h", "/usr/include/a.h /usr/share, /usrlocal\n");
    world.text("usr/bin/strange", "${DESTDIR}/usr/bin\n");
    let done = world.try_relocate("w", 1).unwrap();
    let left = |path: &str| done.leftovers.iter().find(|left| left.path == path).unwrap();
    assert_eq!((left("/store/dev/include/a.h").count, left("/store/dev/include/a.h").reason.is_some()), (2, true));
    assert_eq!(left("/store/dev/bin/strange").reason, None);
}

#[test]
fn refuses_what_cannot_work() {
    let world = World::new();
    world.text("usr/lib/python3.14/_sysconfigdata_x.py", "x = '/store/dev/bin'");
    let error = world.try_relocate("w", 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`lib/python3.14/_sysconfigdata_x.py` of the runtime would name the development files at byte 5"
    );
    let error = world.try_relocate("w", 1).unwrap_err();
    assert!(matches!(error, RelocateError::NotEmpty { .. }), "{error}");

    let world = World::new();
    world.text("usr/bin/a", "one");
    world.text("usr/sbin/a", "other");
    let error = world.try_relocate("w", 1).unwrap_err();
    assert_eq!(error.to_string(), "`usr/bin/a` and `usr/sbin/a` would both become `bin/a`");

    for path in ["relative", "/with space", "/a:b", "/a/../b", "/percent%"] {
        assert!(matches!(Place::at(path).text(), Err(RelocateError::Place { .. })), "{path}");
    }
}

//! Why this machine forbids namespaces, and what changes that.

use std::path::Path;

/// The exact next step on a machine whose `/proc` and marker files are below `root`.
pub(super) fn hint(root: &Path, is_root: bool) -> String {
    let read = |name: &str| {
        let path = root.join("proc/sys").join(name);
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    if read("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return sysctl("kernel.unprivileged_userns_clone=1");
    }
    if read("user/max_user_namespaces").as_deref() == Some("0") {
        return sysctl("user.max_user_namespaces=10000");
    }
    if matches!(read("kernel/apparmor_restrict_unprivileged_userns").as_deref(), Some(value) if value != "0") {
        return sysctl("kernel.apparmor_restrict_unprivileged_userns=0");
    }
    let container = ["run/.containerenv", ".dockerenv"].iter().any(|name| root.join(name).exists());
    if container || is_root {
        return "this looks like a container or chroot that forbids namespaces: start it with `--cap-add SYS_ADMIN \
                --security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
            .to_owned();
    }
    "the kernel forbids user namespaces here: run akb as root, or ask for `sysctl -w user.max_user_namespaces=10000`"
        .to_owned()
}

fn sysctl(setting: &str) -> String {
    format!("as root: `sysctl -w {setting}`, or run akb as root")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn names_the_setting_that_applies() {
        for (files, expected) in [
            (vec![("proc/sys/kernel/unprivileged_userns_clone", "0\n")], "kernel.unprivileged_userns_clone=1"),
            (
                vec![
                    ("proc/sys/kernel/unprivileged_userns_clone", "1\n"),
                    ("proc/sys/user/max_user_namespaces", "0\n"),
                ],
                "user.max_user_namespaces=10000",
            ),
            (
                vec![
                    ("proc/sys/user/max_user_namespaces", "100\n"),
                    ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"),
                ],
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (vec![(".dockerenv", "")], "--security-opt seccomp=unconfined"),
            (vec![], "run akb as root"),
        ] {
            let hint = hint(machine(&files).path(), false);
            assert!(hint.contains(expected), "{hint}");
        }
    }
}

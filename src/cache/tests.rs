use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn key(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        entries(folder).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs an ignored test of this file in a process of its own, with `folder` as its working folder.
fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("cache::tests::{test}"), "--nocapture"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_for(child: &mut Child, word: &str) {
    let mut seen = Vec::new();
    let out = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(word) {
        assert_eq!(out.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
}

#[test]
fn keeps_files_read_only_by_their_hash() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    assert_eq!(cache.file(&key("a")), None);
    for _ in 0..2 {
        let mut temp = cache.temp_file().unwrap();
        temp.write_all(b"a").unwrap();
        let path = cache.insert_file(temp, &key("a")).unwrap();
        assert_eq!(cache.file(&key("a")), Some(path.clone()));
        assert_eq!(fs::read(&path).unwrap(), b"a");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o444);
    }
    assert_eq!(names(&cache.root().join("tmp")), [GUARD]);
}

#[test]
fn only_one_writes_a_partial_and_the_next_goes_on_with_it() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let mut first = cache.partial(&key("ab")).unwrap().unwrap();
    assert!(cache.partial(&key("ab")).unwrap().is_none());
    first.file.write_all(b"a").unwrap();
    drop(first);
    let mut second = cache.partial(&key("ab")).unwrap().unwrap();
    second.file.seek(io::SeekFrom::End(0)).unwrap();
    second.file.write_all(b"b").unwrap();
    let path = cache.insert_partial(second, &key("ab")).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"ab");
    assert_eq!(names(&cache.root().join("partial")), [""; 0]);
}

#[test]
fn a_failed_build_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let failed: Result<PathBuf, CacheError> = cache.build_folder("unpacked", &key("k"), |dir| {
        fs::create_dir(dir.join("closed")).unwrap();
        fs::write(dir.join("closed/half"), "x").unwrap();
        fs::set_permissions(dir.join("closed"), Permissions::from_mode(0o555)).unwrap();
        Err(io::Error::from(io::ErrorKind::StorageFull)).at("write", dir)
    });
    let error = failed.unwrap_err();
    assert!(error.hint().unwrap().contains("free some space"), "{error}");
    assert_eq!(cache.folder("unpacked", &key("k")), None);
    assert_eq!(names(&cache.root().join("folders/unpacked")), [""; 0]);
    assert_eq!(names(&cache.root().join("locks")), [""; 0]);
}

#[test]
fn of_many_threads_one_builds() {
    let root = tempfile::tempdir().unwrap();
    let built = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..20 {
                    // Each opening sweeps, and must not sweep what others work on.
                    let cache = Cache::open(root.path()).unwrap();
                    let path = cache
                        .build_folder("unpacked", &key(&format!("{round}")), |dir| {
                            built.fetch_add(1, Ordering::SeqCst);
                            fs::write(dir.join("file"), "whole").at("write", dir)
                        })
                        .unwrap();
                    assert_eq!(fs::read(path.join("file")).unwrap(), b"whole");
                }
            });
        }
    });
    assert_eq!(built.into_inner(), 20);
}

#[test]
fn of_two_processes_one_builds() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let mut other = child("child_builds_until_told", root.path());
    wait_for(&mut other, "building");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            cache.build_folder("unpacked", &key("shared"), |_| -> Result<(), CacheError> { panic!("built twice") })
        });
        assert_eq!(cache.folder("unpacked", &key("shared")), None);
        other.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let path = waiting.join().unwrap().unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"from the child");
    });
    assert!(other.wait().unwrap().success());
}

#[test]
fn a_killed_build_is_swept_and_made_again() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    let mut other = child("child_builds_until_told", root.path());
    wait_for(&mut other, "building");
    drop(Cache::open(root.path()).unwrap());
    let part = part_of(&cache.folder_path("unpacked", &key("shared")));
    assert!(part.join("file").exists(), "swept while its builder was alive");
    assert_eq!(names(&cache.root().join("tmp")).len(), 2, "swept while its writer was alive");

    other.kill().unwrap();
    other.wait().unwrap();
    assert!(part.join("file").exists());
    drop(Cache::open(root.path()).unwrap());
    assert!(!part.exists());
    assert_eq!(names(&cache.root().join("tmp")), [GUARD]);
    let path = cache.build_folder("unpacked", &key("shared"), |_| Ok::<_, CacheError>(())).unwrap();
    assert_eq!(names(&path), [""; 0]);
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn child_builds_until_told() {
    let cache = Cache::open(Path::new(".")).unwrap();
    let _temp = cache.temp_file().unwrap();
    let built = cache.build_folder("unpacked", &key("shared"), |dir| {
        fs::write(dir.join("file"), "from the child").at("write", dir)?;
        io::stdout().write_all(b"building\n").unwrap();
        io::stdin().read_line(&mut String::new()).unwrap();
        Ok::<_, CacheError>(())
    });
    built.unwrap();
}

#[test]
fn texts_are_replaced_and_checked() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open(root.path()).unwrap();
    assert_eq!(cache.text("listing", "django"), None);
    for text in ["one", "two\nlines\n", ""] {
        cache.put_text("listing", "django", text).unwrap();
        assert_eq!(cache.text("listing", "django").as_deref(), Some(text));
    }
    let path = cache.text_path("listing", "django");
    fs::write(&path, "tampered").unwrap();
    assert_eq!(cache.text("listing", "django"), None);
}

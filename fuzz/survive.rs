use std::fs;

use akb::tree;
use akb::unpack::{self, Limits};

/// Unpacks `bytes` as a file called `name` and looks at what is left.
pub fn survive(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let archive = folder.path().join(name);
    fs::write(&archive, bytes).expect("space in the temporary folder");
    let limits = Limits { files: 1000, total_size: 1 << 20, file_size: 1 << 20, ..Limits::default() };
    let dest = folder.path().join("dest");
    let unpacked = unpack::any(&archive, &dest, &limits).is_ok();
    let names = tree::list(folder.path()).expect("the folder is still there");
    let expected = if unpacked { vec![archive, dest] } else { vec![archive] };
    assert_eq!(names, expected);
}

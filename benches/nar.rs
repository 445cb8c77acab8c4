//! Prints the NAR hash of a folder, for `nar_hash.py`.

use std::fs;
use std::io::BufReader;
use std::path::Path;

use akb::nar;
use akb::tree::{self, Kind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("nar FOLDER")?;
    let folder = Path::new(&folder);
    let mut encoder = nar::hasher()?;
    encoder.folder(Path::new(""))?;
    let mut nodes = tree::walk(folder)?;
    // By component: `a/b` comes before `a-b` in the archive.
    nodes.sort_by(|a, b| a.path.iter().cmp(b.path.iter()));
    for node in nodes {
        match &node.kind {
            Kind::Dir => encoder.folder(&node.path)?,
            Kind::Link { target } => encoder.link(&node.path, target)?,
            Kind::File { size, executable } => {
                let file = fs::File::open(folder.join(&node.path))?;
                encoder.file(&node.path, *executable, *size, BufReader::with_capacity(1 << 18, file))?;
            }
        }
    }
    println!("{}", nar::finish(encoder)?.0);
    Ok(())
}

//! Prints the NAR hash of a folder, for `nar_hash.py`.

use std::path::Path;

use akb::{nar, tree};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("nar FOLDER")?;
    let folder = Path::new(&folder);
    println!("{}", nar::hash(folder, tree::walk(folder)?)?);
    Ok(())
}

//! A build environment: a virtual environment (PEP 405) of locked wheels.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::error::At as _;
use super::{Id, WheelError, backend};
use crate::digest::Sha256;
use crate::inputs::{Inputs, Runtime};
use crate::install::{self, Layout};
use crate::relink::{self, RelinkError};
use crate::report::Silent;
use crate::unpack::{self, Limits};

/// One wheel of it.
pub(super) struct Member {
    /// Name as a wheel.
    pub(super) file: String,
    /// On this machine.
    pub(super) path: PathBuf,
    /// Its hash.
    pub(super) sha256: Sha256,
}

/// Makes the environment of `members` in `dest`, which must not exist; nor may `scratch`, which is gone afterwards.
pub(super) fn make(
    package: &Id,
    members: &[Member],
    inputs: &Inputs,
    scratch: &Path,
    dest: &Path,
) -> Result<(), WheelError> {
    let refused = |file: &str, message: String| WheelError::Requirement {
        package: package.clone(),
        file: file.to_owned(),
        message,
    };
    fs::create_dir(scratch).at("create", scratch)?;
    let mut wheels = Vec::new();
    for (number, member) in members.iter().enumerate() {
        let folder = scratch.join(number.to_string());
        let entries = unpack::wheel(&member.path, &folder, &Limits::default())
            .map_err(|error| refused(&member.file, error.to_string()))?;
        let wheel = install::Wheel::open(&folder, &member.file, entries)
            .map_err(|error| refused(&member.file, error.to_string()))?;
        wheels.push(wheel);
    }
    let all = || members.iter().map(|member| member.file.as_str()).collect::<Vec<_>>().join(", ");
    let layout = Layout { python: inputs.target.python, prefix: backend::ENV.to_owned() };
    let mut site =
        install::plan(&wheels, &layout, &BTreeMap::default()).map_err(|error| refused(&all(), error.to_string()))?;
    site.refer_to(&inputs.python, inputs.target.python);
    install::write(&site, dest, install::Files::Copied, NonZeroUsize::MIN, &Silent)
        .map_err(|error| refused(&all(), error.to_string()))?;
    if inputs.runtime == Runtime::Referenced {
        find_libraries(inputs, dest).map_err(|error| refused(&all(), error.to_string()))?;
    }
    fs::remove_dir_all(scratch).at("remove", scratch)
}

/// Wheels bring programs and modules that expect the dynamic linker in `/lib64` and libraries where it looks: neither
/// is so in a sandbox that sees prefixes. A tool that lacks a library is no error before it is used.
fn find_libraries(inputs: &Inputs, dest: &Path) -> Result<(), RelinkError> {
    let rules = relink::Rules { optional: vec!["*".to_owned()], ..relink::Rules::default() };
    let job = relink::Job {
        tree: dest,
        prefix: Path::new(backend::ENV),
        supply: relink::Supply::of(inputs),
        rules: &rules,
        in_place: true,
    };
    relink::relink(&job, NonZeroUsize::MIN, &Silent).map(drop)
}

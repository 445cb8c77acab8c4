//! The file of a version that only the recipe names.

use super::MakeError;
use crate::lock::is_wheel;
use crate::lock::resolve::{World, choose};
use crate::plan::{Origin, Plan, RemoteFile};
use crate::recipe::{Applied, Pending};

/// The plan with a file for every replacement that waits for one, chosen as a resolution would.
///
/// # Errors
/// A version that the index does not have, or not for this target.
pub fn complete(applied: Applied, world: &World<'_>) -> Result<Plan, MakeError> {
    applied.complete(|pending| find(pending, world))
}

fn find(pending: &Pending, world: &World<'_>) -> Result<Origin, MakeError> {
    let mut offers = world
        .source
        .offers(&pending.name)
        .map_err(|error| MakeError::Source { package: pending.name.clone(), error })?;
    if let Some(file) = &pending.file {
        offers.retain(|offer| offer.file == *file);
    }
    if pending.from_source {
        offers.retain(|offer| !is_wheel(&offer.file));
    }
    let (found, offered) = choose(world, &pending.name, &pending.version, offers);
    let what = if pending.from_source { "source distribution of " } else { "" };
    let exactly = pending.file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
    let file = found.ok_or_else(|| MakeError::NotOffered {
        wanted: format!("{what}{} {}{exactly}", pending.name, pending.version),
        name: pending.name.clone(),
        python: world.target.python.to_string(),
        platform: world.target.platform.to_string(),
        offered,
    })?;
    let wheel = is_wheel(&file.name);
    let remote = RemoteFile { file, url: None, index: None, subdirectory: None };
    Ok(if wheel { Origin::Wheel(remote) } else { Origin::Sdist(remote) })
}

//! What a wheel may depend on, as one hash.

use serde::Serialize;

use super::{Id, Job, Native, backend, flags};
use crate::digest::Sha256;
use crate::inputs::Inputs;

/// Raised when akb itself builds wheels differently: the layout of the sandbox, its fixed variables.
const LAYOUT: u32 = 1;

/// A wheel of a build environment: name as a file and hash.
pub(super) type Member = (String, Sha256);

/// All that the bytes of a wheel may depend on. The number of jobs, memory and places on this machine are not in it.
#[derive(Serialize)]
struct Key<'a> {
    rules: Sha256,
    action: &'static str,
    id: &'a Id,
    identity: Sha256,
    subdirectory: Option<&'a str>,
    environment: Vec<Member>,
    inputs: Sha256,
    native: &'a Native,
}

/// The hash of akb's own part in every build: its shim, its flags, its layout.
pub fn rules() -> Sha256 {
    let parts = [Sha256::of(backend::SHIM.as_bytes()).hex(), flags::ALWAYS.join(" "), LAYOUT.to_string()];
    Sha256::of(parts.join("\n").as_bytes())
}

/// The key of what `action` gives for `job` in an environment of these wheels.
pub(super) fn key(action: &'static str, job: &Job, environment: &[Member], inputs: &Inputs) -> Sha256 {
    let mut environment = environment.to_vec();
    environment.sort_unstable();
    let key = Key {
        rules: rules(),
        action,
        id: &job.id,
        identity: job.identity,
        subdirectory: job.subdirectory.as_deref(),
        environment,
        inputs: inputs.identity,
        native: &job.native,
    };
    // Maps are sorted and nothing in it can fail to be written; a failure would only cost a cache hit.
    Sha256::of(&serde_json::to_vec(&key).unwrap_or_default())
}

//! (to be written)
pub(super) fn locate(_: &[super::View], _: &std::path::Path) -> Option<std::path::PathBuf> { None }

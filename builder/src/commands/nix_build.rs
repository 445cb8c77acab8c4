//! `akb nix-build`: akb as the builder of a Nix derivation.

use akb::nix::{self, Attributes, Stage};

use crate::context::Context;
use crate::failure::Failure;
use crate::tools::SourceArgs;

/// Be the builder of a Nix derivation
///
/// `builder = ./akb;` is enough: run without arguments by Nix, akb does this by itself. What is done is said by the
/// derivation's attributes (plain, passAsFile or __structuredAttrs), above all `stage`:
///
///   fetch         fixed-output: all wheels, source distributions and build requirements of akb.lock
///   fetch-inputs  fixed-output: the Debian packages that akb.lock pins
///   fetch-file    fixed-output, flat: one file (`file`, `project`)
///   wheel         one wheel (`package`) from `files`, and `debs` or `inputs`
///   build         the environment from `files`, and `debs` or `inputs`
///
/// `src` is the folder with uv.lock and akb.lock, or `lock` an akb.lock, or `release` a release that akb knows.
/// nix/default.nix has a function for each of them.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// Runs the derivation whose attributes are in the environment.
pub(crate) fn run(_: &Args, cx: &Context) -> Result<(), Failure> {
    let env = |name: &str| cx.env(name);
    let attributes = Attributes::read(&env)?;
    let stage = Stage::of(&attributes)?;
    let cx = Context::for_nix(&attributes, !stage.fetches());
    build(&attributes, &cx)
}

fn build(attributes: &Attributes<'_>, cx: &Context) -> Result<(), Failure> {
    let certificates = attributes.text("caBundle")?.map(Into::into);
    let sources = SourceArgs::for_nix(attributes.list("index")?, attributes.text("debianMirror")?, certificates);
    let workbench = sources.open(cx, false)?;
    Ok(nix::run(attributes, workbench.tools())?)
}

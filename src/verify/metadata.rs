//! `Requires-Dist` and `Requires-Python` of every installed package (core metadata specification).

use std::collections::BTreeMap;
use std::str::FromStr as _;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{MarkerEnvironment, VersionOrUrl};
use url::Url;

use super::{Check, Finding, Report, Site, VerifyError};
use crate::lock::{markers, names};
use crate::request::{Arch, Libc, Platform, PythonVersion, Target};

pub(super) fn check(site: &Site, report: &mut Report) -> Result<(), VerifyError> {
    let Some(target) = target(site) else {
        report.findings.push(Finding {
            check: Check::Requirements,
            subject: "pyvenv.cfg".to_owned(),
            problem: "expected a line `version = 3.N.N`".to_owned(),
        });
        return Ok(());
    };
    let environment = markers::environment(&target);
    let mut texts = BTreeMap::new();
    for dist in &site.dists {
        let text = site.read(&dist.join("METADATA"))?;
        texts.insert(dist.display().to_string(), String::from_utf8_lossy(&text).into_owned());
    }
    let installed: BTreeMap<String, Version> = texts
        .values()
        .filter_map(|text| {
            let version = field(text, "Version").next()?;
            Some((names::normalize(field(text, "Name").next()?)?, Version::from_str(version).ok()?))
        })
        .collect();
    let mut count = 0;
    for (dist, text) in &texts {
        for requires in field(text, "Requires-Python") {
            let holds = VersionSpecifiers::from_str(requires)
                .is_ok_and(|specifiers| specifiers.contains(&environment.python_full_version().version));
            if !holds {
                report.findings.push(finding(dist, format!("requires Python {requires}, found {}", target.python)));
            }
        }
        for requires in field(text, "Requires-Dist") {
            count += 1;
            if let Some(problem) = unsatisfied(requires, &installed, &environment) {
                report.findings.push(finding(dist, problem));
            }
        }
    }
    report.looked.insert(Check::Requirements, format!("{count} requirements of {} packages", texts.len()));
    Ok(())
}

fn finding(dist: &str, problem: String) -> Finding {
    Finding { check: Check::Requirements, subject: dist.to_owned(), problem }
}

/// The values of one header, up to the blank line that ends the headers.
fn field<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().take_while(|line| !line.is_empty()).filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// What is wrong with one requirement of an installed package. Those of extras do not count: who asked for an
/// extra is not recorded.
fn unsatisfied(text: &str, installed: &BTreeMap<String, Version>, environment: &MarkerEnvironment) -> Option<String> {
    // Old packages spell requirements in ways that no standard reads; they bind nobody.
    let requirement = markers::requirement::<Url>(text).ok()?;
    if !requirement.evaluate_markers(environment, &[]) {
        return None;
    }
    let name = requirement.name.to_string();
    match (installed.get(&name), &requirement.version_or_url) {
        (None, _) => Some(format!("requires {text}, which is not installed")),
        (Some(version), Some(VersionOrUrl::VersionSpecifier(specifiers))) if !specifiers.contains(version) => {
            Some(format!("requires {text}, found {version}"))
        }
        _ => None,
    }
}

/// What the tree's interpreter is, from `pyvenv.cfg` and its ELF header's machine.
fn target(site: &Site) -> Option<Target> {
    let config = site.read(std::path::Path::new("pyvenv.cfg")).ok()?;
    let config = String::from_utf8_lossy(&config).into_owned();
    let version = config.lines().find_map(|line| line.strip_prefix("version = "))?;
    let python: PythonVersion = version.trim().parse().ok()?;
    let arch = Arch::host()?;
    // Requirements have no marker on the C library.
    Some(Target { python, platform: Platform { arch, libc: Libc::Glibc(2, 17) } })
}

//! Why no set of packages fits, in sentences.

use std::fmt::Write as _;
use std::sync::Arc;

use pep440_rs::Version;
use pubgrub::{DefaultStringReporter, DerivationTree, Derived, External, Ranges, Reporter as _, Term};

use super::provider::{Node, Provider};

type Tree = DerivationTree<Node, Ranges<Version>, String>;

/// Longest explanation that is shown, in characters.
const LONGEST: usize = 4000;

/// The explanation, one sentence a line; last, what the index has of the packages that lack a version.
pub(super) fn explain(mut tree: Tree, provider: &Provider<'_>) -> String {
    let mut lacking = Vec::new();
    without_versions(&tree, &mut lacking);
    lacking.sort();
    lacking.dedup();
    let mut collapsed = tree.clone();
    collapsed.collapse_no_versions();
    // A single edge without its "there is no version" would explain nothing.
    if matches!(collapsed, DerivationTree::Derived(_)) {
        tree = collapsed;
    }
    let text = DefaultStringReporter::report(&rootless(&tree));
    let mut text = text.replace(" * is forbidden", " cannot be set up");
    for name in lacking {
        if let Some(refused) = provider.refused(&name) {
            let _ = write!(text, "\n{refused}");
        }
    }
    text.chars().take(LONGEST).collect()
}

/// The tree with every version of the root, which has none, as "all versions".
fn rootless(tree: &Tree) -> Tree {
    let versions = |node: &Node, versions: &Ranges<Version>| match node {
        Node::Root(_) => Ranges::full(),
        Node::Package(_) | Node::Extra(..) => versions.clone(),
    };
    match tree {
        DerivationTree::External(External::FromDependencyOf(node, set, other, other_set)) => DerivationTree::External(
            External::FromDependencyOf(node.clone(), versions(node, set), other.clone(), other_set.clone()),
        ),
        DerivationTree::External(other) => DerivationTree::External(other.clone()),
        DerivationTree::Derived(derived) => {
            let term = |node: &Node, term: &Term<Ranges<Version>>| match term {
                Term::Positive(set) => Term::Positive(versions(node, set)),
                Term::Negative(set) => Term::Negative(versions(node, set)),
            };
            DerivationTree::Derived(Derived {
                terms: derived.terms.iter().map(|(node, set)| (node.clone(), term(node, set))).collect(),
                shared_id: derived.shared_id,
                cause1: Arc::new(rootless(&derived.cause1)),
                cause2: Arc::new(rootless(&derived.cause2)),
            })
        }
    }
}

fn without_versions(tree: &Tree, names: &mut Vec<String>) {
    match tree {
        DerivationTree::External(External::NoVersions(node, _)) => names.extend(node.name().map(str::to_owned)),
        DerivationTree::External(_) => {}
        DerivationTree::Derived(derived) => {
            without_versions(&derived.cause1, names);
            without_versions(&derived.cause2, names);
        }
    }
}

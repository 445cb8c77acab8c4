use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// An index in memory. Each line: file name, then words: `>=3.9` for Requires-Python, `yanked`, `@TIME` for the
/// upload, `nohash`; after `:` the requirements, separated by `,,`.
pub(crate) struct Memory {
    files: Vec<(String, Offer, Vec<String>)>,
    asked: RefCell<BTreeSet<String>>,
}

impl Memory {
    pub(crate) fn new(lines: &[&str]) -> Self {
        let files = lines.iter().map(|line| {
            let (head, requires) = line.split_once(" : ").unwrap_or((line, ""));
            let mut words = head.split(' ');
            let file = words.next().unwrap().to_owned();
            let words: Vec<&str> = words.collect();
            let name = crate::lock::names::normalize(file.split('-').next().unwrap()).unwrap();
            let offer = Offer {
                sha256: (!words.contains(&"nohash")).then(|| Sha256::of(file.as_bytes())),
                file,
                size: Some(1),
                requires_python: words
                    .iter()
                    .find(|word| word.starts_with(['>', '<', '=']))
                    .map(|word| (*word).to_owned()),
                yanked: words.contains(&"yanked"),
                uploaded: words.iter().find_map(|word| word.strip_prefix('@')).map(str::to_owned),
            };
            let requires =
                requires.split(",,").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
            (name, offer, requires)
        });
        Self { files: files.collect(), asked: RefCell::default() }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the index is away")]
struct Away;
impl Explain for Away {}

impl Source for Memory {
    fn offers(&self, name: &str) -> Result<Vec<Offer>, Failed> {
        self.asked.borrow_mut().insert(name.to_owned());
        if name == "away" {
            return Err(Box::new(Away));
        }
        Ok(self.files.iter().filter(|(project, ..)| project == name).map(|(_, offer, _)| offer.clone()).collect())
    }

    fn requires(&self, name: &str, choice: &Choice) -> Result<Requires, Failed> {
        let file = match choice {
            Choice::Own(version) => format!("own-{name}-{version}"),
            Choice::File(file) => file.name.clone(),
        };
        let requires =
            self.files.iter().find(|(_, offer, _)| offer.file == file).map(|(.., requires)| requires.clone());
        match requires.unwrap_or_default() {
            broken if broken == ["broken"] => Ok(Requires::Unusable("its metadata is broken".to_owned())),
            requires => Ok(Requires::Known(requires)),
        }
    }
}

#[derive(Default)]
struct Case {
    own: BTreeMap<String, Own>,
    preferred: BTreeMap<String, String>,
    exclude_newer: Option<&'static str>,
}

impl Case {
    fn own(mut self, name: &str, version: &str, from_index: bool) -> Self {
        self.own.insert(name.to_owned(), Own { version: Some(version.to_owned()), from_index });
        self
    }

    fn run(&self, index: &Memory, requirements: &[&str]) -> Result<Resolution, ResolveError> {
        let target = Target { python: "3.14".parse().unwrap(), platform: "x86_64-manylinux_2_42".parse().unwrap() };
        let world = World {
            source: index,
            target: &target,
            own: &self.own,
            preferred: &self.preferred,
            exclude_newer: self.exclude_newer,
        };
        let requirements: Vec<String> = requirements.iter().map(|text| (*text).to_owned()).collect();
        resolve(&world, "app", &requirements)
    }

    fn chosen(&self, index: &[&str], requirements: &[&str]) -> Vec<String> {
        let resolution = self.run(&Memory::new(index), requirements).unwrap();
        resolution.packages.values().map(|chosen| chosen.choice.to_string()).collect()
    }

    fn fails(&self, index: &[&str], requirements: &[&str]) -> String {
        let error = self.run(&Memory::new(index), requirements).unwrap_err();
        format!("{error}\n-> {}", error.hint().unwrap_or_default())
    }
}

fn chosen(index: &[&str], requirements: &[&str]) -> Vec<String> {
    Case::default().chosen(index, requirements)
}

#[test]
fn takes_the_newest_release_and_what_it_needs() {
    let index = [
        "a-1.0-py3-none-any.whl",
        "a-1.10-py3-none-any.whl : b>=2 ,, c",
        "a-1.9-py3-none-any.whl",
        "b-1-py3-none-any.whl",
        "b-2-py3-none-any.whl",
        "c-1.tar.gz",
    ];
    assert_eq!(chosen(&index, &["A"]), ["a-1.10-py3-none-any.whl", "b-2-py3-none-any.whl", "c-1.tar.gz"]);
    assert_eq!(chosen(&index, &["a<1.10"]), ["a-1.9-py3-none-any.whl"]);
    assert_eq!(chosen(&index, &[]), [""; 0]);
}

#[test]
fn prefers_the_wheel_that_fits_best_and_an_sdist_only_without_one() {
    let index = [
        "a-1.tar.gz",
        "a-1-py3-none-any.whl",
        "a-1-cp314-cp314-manylinux_2_17_x86_64.whl",
        "a-1-cp314-cp314-win_amd64.whl",
        "b-2.zip",
        "b-2.tar.gz",
        "b-1-py3-none-any.whl",
        "c-1-1-py3-none-any.whl",
        "c-1-2-py3-none-any.whl",
        "c-1-py3-none-any.whl",
    ];
    assert_eq!(
        chosen(&index, &["a", "b", "c"]),
        ["a-1-cp314-cp314-manylinux_2_17_x86_64.whl", "b-2.tar.gz", "c-1-2-py3-none-any.whl"]
    );
}

#[test]
fn leaves_out_what_cannot_be_used() {
    let index = [
        "a-5-py3-none-any.whl yanked",
        "a-4-py3-none-any.whl <3.14",
        "a-3-cp313-cp313-manylinux_2_17_x86_64.whl",
        "a-2-py3-none-any.whl nohash",
        "a-1-py3-none-any.whl >=3.8",
        "a-0.5-py3-none-any.whl",
    ];
    assert_eq!(chosen(&index, &["a"]), ["a-1-py3-none-any.whl"]);
    assert_eq!(chosen(&index, &["a==5"]), ["a-5-py3-none-any.whl"], "yanked counts where it is asked for exactly");
}

#[test]
fn takes_pre_releases_only_where_nothing_else_fits() {
    let index = ["a-2rc1-py3-none-any.whl", "a-1-py3-none-any.whl", "b-1a1-py3-none-any.whl", "b-1a2-py3-none-any.whl"];
    assert_eq!(chosen(&index, &["a", "b"]), ["a-1-py3-none-any.whl", "b-1a2-py3-none-any.whl"]);
    assert_eq!(chosen(&index, &["a>=2rc1"]), ["a-2rc1-py3-none-any.whl"]);
}

#[test]
fn follows_markers_and_extras() {
    let index = [
        "a-1-py3-none-any.whl : b; python_version<'3.0' ,, c; sys_platform=='linux' ,, d; extra=='x' ,, a[x]; extra=='all'",
        "b-1-py3-none-any.whl",
        "c-1-py3-none-any.whl",
        "d-1-py3-none-any.whl",
    ];
    assert_eq!(chosen(&index, &["a"]), ["a-1-py3-none-any.whl", "c-1-py3-none-any.whl"]);
    let with_d = ["a-1-py3-none-any.whl", "c-1-py3-none-any.whl", "d-1-py3-none-any.whl"];
    assert_eq!(chosen(&index, &["a[X]"]), with_d);
    assert_eq!(chosen(&index, &["a[all]"]), with_d);
    assert_eq!(chosen(&index, &["a[unknown]"]), ["a-1-py3-none-any.whl", "c-1-py3-none-any.whl"]);
    assert_eq!(chosen(&index, &["b; platform_machine=='aarch64'"]), [""; 0]);
}

#[test]
fn an_extra_is_of_the_chosen_version() {
    let index = [
        "a-2-py3-none-any.whl : b>=2; extra=='x'",
        "a-1-py3-none-any.whl : b<2; extra=='x'",
        "b-2-py3-none-any.whl",
        "b-1-py3-none-any.whl",
    ];
    assert_eq!(chosen(&index, &["a[x]", "a<2"]), ["a-1-py3-none-any.whl", "b-1-py3-none-any.whl"]);
    assert_eq!(chosen(&index, &["a[x]", "b<2"]), ["a-1-py3-none-any.whl", "b-1-py3-none-any.whl"]);
}

#[test]
fn goes_back_over_choices_that_do_not_fit() {
    let index = [
        "a-2-py3-none-any.whl : c>=2",
        "a-1-py3-none-any.whl : c<2",
        "b-1-py3-none-any.whl : c<2",
        "c-1-py3-none-any.whl",
        "c-2-py3-none-any.whl",
        "d-2-py3-none-any.whl : broken",
        "d-1-py3-none-any.whl",
    ];
    assert_eq!(chosen(&index, &["a", "b"]), ["a-1-py3-none-any.whl", "b-1-py3-none-any.whl", "c-1-py3-none-any.whl"]);
    assert_eq!(chosen(&index, &["d"]), ["d-1-py3-none-any.whl"]);
}

#[test]
fn packages_may_need_each_other() {
    let index = ["a-1-py3-none-any.whl : b", "b-1-py3-none-any.whl : a"];
    assert_eq!(chosen(&index, &["a"]), ["a-1-py3-none-any.whl", "b-1-py3-none-any.whl"]);
}

#[test]
fn the_projects_own_version_comes_first() {
    let index = ["lxml-6.1-py3-none-any.whl", "lxml-6.0.2-py3-none-any.whl", "b-1-py3-none-any.whl : lxml"];
    let case = Case::default().own("lxml", "6.0.2", true);
    assert_eq!(case.chosen(&index, &["lxml"]), ["the project's own 6.0.2"]);
    assert_eq!(case.chosen(&index, &["b"]), ["b-1-py3-none-any.whl", "the project's own 6.0.2"]);
    let resolution = case.run(&Memory::new(&index), &["lxml>=6.1"]).unwrap();
    assert_eq!(resolution.packages["lxml"].choice.to_string(), "lxml-6.1-py3-none-any.whl");
    assert_eq!(resolution.notes, ["app is built with lxml 6.1: the locked 6.0.2 does not fit its requirements"]);
}

#[test]
fn a_package_from_git_is_never_looked_up() {
    let case = Case::default().own("mine", "1.0", false);
    let index = Memory::new(&["mine-2.0-py3-none-any.whl"]);
    assert_eq!(case.run(&index, &["mine"]).unwrap().packages["mine"].choice, Choice::Own("1.0".to_owned()));
    assert!(matches!(case.run(&index, &["mine>=2"]), Err(ResolveError::Conflict { .. })));
    assert_eq!(
        case.run(&index, &["mine @ https://git.invalid/x"]).unwrap().packages["mine"].version.to_string(),
        "1.0"
    );
    assert!(index.asked.borrow().is_empty());
}

#[test]
fn a_version_locked_elsewhere_in_the_project_is_preferred() {
    let mut case = Case::default();
    case.preferred.insert("a".to_owned(), "1".to_owned());
    let index = ["a-2-py3-none-any.whl", "a-1-py3-none-any.whl yanked"];
    assert_eq!(case.chosen(&index, &["a"]), ["a-1-py3-none-any.whl"]);
    assert_eq!(case.chosen(&index, &["a>1"]), ["a-2-py3-none-any.whl"]);
}

#[test]
fn exclude_newer_counts_where_the_index_says_when() {
    let case = Case { exclude_newer: Some("2026-01-01T00:00:00Z"), ..Case::default() };
    let index = ["a-2-py3-none-any.whl @2026-02-01T10:00:00.123456Z", "a-1-py3-none-any.whl @2025-12-31T23:59:59Z"];
    assert_eq!(case.chosen(&index, &["a"]), ["a-1-py3-none-any.whl"]);
    let silent = case.run(&Memory::new(&["a-2-py3-none-any.whl"]), &["a"]).unwrap();
    assert_eq!(silent.notes, ["the index does not say when files of a were uploaded: exclude-newer is not applied"]);
}

#[test]
fn conflicts_are_told_in_sentences() {
    let index =
        ["a-1-py3-none-any.whl : c>=2", "b-1-py3-none-any.whl : c<2", "c-1-py3-none-any.whl", "c-2-py3-none-any.whl"];
    let case = Case::default();
    insta::assert_snapshot!(case.fails(&index, &["a", "b"]), @r#"
    no set of packages can build app: Because a depends on c >=2 and b 1 depends on c <2, b 1, a * are incompatible.
    And because the build of app depends on a and the build of app depends on b, the build of app cannot be set up.
    -> narrow the choice: [package.app] build-requires = ["…==…"], or another version of it
    "#);
    insta::assert_snapshot!(case.fails(&index, &["c>=3"]), @r#"
    no set of packages can build app: Because there is no version of c in >=3 and the build of app depends on c >=3, the build of app cannot be set up.
    -> narrow the choice: [package.app] build-requires = ["…==…"], or another version of it
    "#);
    insta::assert_snapshot!(case.fails(&index, &["zzz"]), @r#"
    no set of packages can build app: Because there is no available version for zzz and the build of app depends on zzz, the build of app cannot be set up.
    The index has no project zzz.
    -> narrow the choice: [package.app] build-requires = ["…==…"], or another version of it
    "#);
    insta::assert_snapshot!(case.fails(&["w-1-cp314-cp314-win_amd64.whl", "w-2.tar.gz <3"], &["w"]), @r#"
    no set of packages can build app: Because there is no available version for w and the build of app depends on w, the build of app cannot be set up.
    Files of w that were left out: 1 for other interpreters or platforms, 1 for other versions of Python.
    -> narrow the choice: [package.app] build-requires = ["…==…"], or another version of it
    "#);
}

#[test]
fn other_failures_say_what_to_do() {
    let case = Case::default();
    insta::assert_snapshot!(case.fails(&[], &["a b"]), @r#"
    build requirement of app: `a b` is not a requirement: Expected one of `@`, `(`, `<`, `=`, `>`, `~`, `!`, `;`, found `b`
    -> replace it: [package.app] version = "…", or path = "…" with a mended copy
    "#);
    insta::assert_snapshot!(case.fails(&[], &["a @ https://files.invalid/a.whl"]), @r"
    app requires `a` to be built: an address cannot be locked by name
    -> lock it in the project (`uv add --dev a`), or replace app in akb.toml
    ");
    insta::assert_snapshot!(case.fails(&[], &["away"]), @r"
    the index is away
    ->
    ");
    let mut dynamic = Case::default();
    dynamic.own.insert("mine".to_owned(), Own { version: None, from_index: false });
    insta::assert_snapshot!(dynamic.fails(&[], &["mine"]), @r"
    app requires mine to be built, a package of this project whose version only its build tells
    -> give mine a static version in its pyproject.toml
    ");
}

#[test]
fn the_order_of_the_index_does_not_matter() {
    let index = [
        "a-2-py3-none-any.whl : c>=1,!=2",
        "a-1-py3-none-any.whl : c",
        "b-1-py3-none-any.whl : c<3",
        "b-1.tar.gz",
        "c-1-py3-none-any.whl",
        "c-2-py3-none-any.whl",
        "c-3-py3-none-any.whl",
    ];
    let mut reversed = index;
    reversed.reverse();
    assert_eq!(chosen(&index, &["a", "b"]), chosen(&reversed, &["b", "a"]));
}

proptest::proptest! {
    /// Whatever the small world looks like, an answer meets every requirement.
    #[test]
    fn an_answer_meets_every_requirement(edges in proptest::collection::vec((0..5_u8, 1..4_u8, 0..5_u8, 1..4_u8, 0..3_u8), 0..14)) {
        let name = |index: u8| char::from(b'a' + index);
        let mut requires: BTreeMap<(u8, u8), Vec<String>> = BTreeMap::new();
        for (from, version, to, bound, operator) in edges {
            let operator = [">=", "<", "=="][usize::from(operator)];
            requires.entry((from, version)).or_default().push(format!("{}{operator}{bound}", name(to)));
        }
        let mut lines = Vec::new();
        for package in 0..5_u8 {
            for version in 1..4_u8 {
                let needs = requires.get(&(package, version)).cloned().unwrap_or_default().join(" ,, ");
                lines.push(format!("{}-{version}-py3-none-any.whl : {needs}", name(package)));
            }
        }
        let index = Memory::new(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        if let Ok(resolution) = Case::default().run(&index, &["a", "b"]) {
            for (package, chosen) in &resolution.packages {
                let Requires::Known(needs) = index.requires(package, &chosen.choice).unwrap() else { unreachable!() };
                for need in needs {
                    let wanted = super::requirement::Wanted::parse(&need).unwrap();
                    proptest::prop_assert!(wanted.versions.contains(&resolution.packages[&wanted.name].version), "{need}");
                }
            }
        }
    }
}

# A project before anything is built: the data of its locks and its recipe. Files are read and nothing is decided:
# akb.lock says which packages are installed.
let
  text = import ./text.nix;
  inherit (builtins)
    any attrNames concatMap concatStringsSep elem elemAt filter fromTOML head isPath isString listToAttrs match path
    pathExists readDir readFile replaceStrings split tail unsafeDiscardStringContext;

  # Locks and recipes of the releases that akb knows, by the release's name.
  releases = listToAttrs (concatMap
    (file:
      let
        parts = match "(.*)-([0-9][^-]*)[.]lock" file;
        stem = "${head parts}-${elemAt parts 1}";
      in
      if parts == null then [ ] else [{
        name = "${head parts}-deps@${elemAt parts 1}";
        value = { lock = ../vendor-hashes + "/${stem}.lock"; recipe = ../vendor-hashes + "/${stem}.toml"; };
      }])
    (attrNames (readDir ../vendor-hashes)));

  # What is read of a project's folder to know what to build.
  lockFiles = [ "uv.lock" "uv.toml" "pyproject.toml" "akb.lock" "akb.toml" ".python-version" ];

  # Names in a source folder that are never sources: those that akb leaves out too.
  junk = [
    ".git" ".hg" ".mypy_cache" ".pytest_cache" ".ruff_cache" ".tox" ".venv" "__pycache__" "node_modules" "result"
  ];

  # A path, or the text of one: that of a flake's `self` has context, without which Nix does not find it.
  toPath = src: if isPath src then src else "${src}";

  # The parts of a lock's path, such as `./packages/a`, without dots.
  parts = folder: filter (part: isString part && part != "" && part != ".") (split "/" folder);

  # `root` with the files that decide what is built, and of the rest just `folders` (relative; `.` is all).
  only = root: folders:
    let
      top = unsafeDiscardStringContext "${toString root}/";
      # Nix names files by where they really are: a store of its own is a folder before the path.
      nameOf = file: concatStringsSep "/" (tail (filter isString (split "\n" (replaceStrings [ top ] [ "\n" ] file))));
      wanted = map (folder: concatStringsSep "/" (parts folder)) folders;
      keep = file: kind:
        let
          name = nameOf file;
          within = folder: folder == "" || name == folder || text.startsWith "${folder}/" name;
          above = folder: kind == "directory" && text.startsWith "${name}/" folder;
        in
        elem name lockFiles || !(elem (baseNameOf file) junk) && any (folder: within folder || above folder) wanted;
    in
    path { name = "project"; path = root; filter = keep; };

  readIf = file: otherwise: if file != null && pathExists file then fromTOML (readFile file) else otherwise;

  # The files of a package of uv.lock that have a hash and an address that names something (RFC 2606).
  addressed = package:
    let
      files = package.wheels or [ ] ++ (if package ? sdist then [ package.sdist ] else [ ]);
      archive = if package.source ? url && package ? sdist.hash then [ (package.sdist // { inherit (package.source) url; }) ] else [ ];
      names = file:
        text.startsWith "sha256:" (file.hash or "") && match "https?://.*" (file.url or "") != null
        && match "https?://[^/]*[.]invalid(:[0-9]+)?/.*" file.url == null;
    in
    map (file: { name = text.after 7 file.hash; value = file.url; }) (filter names (archive ++ files));
in
{ src ? null, release ? null, lock ? null, recipe ? null, ... }:
let
  folder = if src == null then null else toPath src;
  inFolder = name: if folder == null then null else folder + "/${name}";
  known = releases.${release} or (throw
    "akb: there is no release ${release}; known are ${concatStringsSep ", " (attrNames releases)}");

  # A release with another lock or recipe is told to akb by these, not by its name.
  changed = release != null && (lock != null || recipe != null);

  lockFile =
    if lock != null then lock
    else if release != null then known.lock
    else if src != null then inFolder "akb.lock"
    else throw "akb: nothing to build: give `src` (a folder with uv.lock and akb.lock), `release` or `lock`";
  data =
    if !(pathExists lockFile) then
      throw ("akb: ${toString lockFile} does not exist: run `akb lock DIR` for the folder with uv.lock and commit the"
        + " akb.lock that it writes there (a flake in a git repository sees only files that git knows)")
    else fromTOML (readFile lockFile);

  pyproject = readIf (inFolder "pyproject.toml") { };
  uv =
    if src == null || release != null then { }
    else readIf (inFolder "uv.lock") (throw "akb: ${toString folder} has no uv.lock: name the folder that has it");
  locked = uv.package or [ ];

  # Where packages of the project's own lie, relative to uv.lock.
  folderOf = package: package.source.directory or package.source.editable or package.source.path or null;
  locals = map folderOf (filter (package: folderOf package != null && elem package.name local) locked);
  local = map (entry: entry.name) (filter (entry: elem entry.kind [ "directory" "editable" "path" ]) packages);
  inside = place:
    if elem ".." (parts place) then
      throw "akb: ${place} of uv.lock lies outside of src: give the folder that holds both as src, and its locks as lock and recipe"
    else place;

  packages = data.package or [ ];
  given = name: file: if file == null then { } else { ${name} = path { name = "akb.${name}"; path = toPath file; }; };
  project = pyproject.project or { };
in
{
  inherit packages;
  lock =
    if data.version or null == 1 then data
    else throw "akb: ${toString lockFile} is not of version 1 of the format: run `akb lock` with the akb of these files";
  builds = data.build or [ ];
  recipe =
    if recipe != null then fromTOML (readFile recipe)
    else if release != null then fromTOML (readFile known.recipe)
    else readIf (inFolder "akb.toml") (pyproject.tool.akb or { });

  name =
    if release != null then replaceStrings [ "@" ] [ "-" ] release
    else if project ? name then text.normalised project.name + (if project ? version then "-${project.version}" else "")
    else "environment";

  # What a derivation is told of the project: the locks, and with `sources` the folders of its own packages.
  attributes = sources:
    (if release != null && !changed then { inherit release; }
    else if folder != null then { src = only folder (if sources then map inside locals else [ ]); }
    else { })
    // given "lock" (if changed then lockFile else lock)
    // given "recipe" (if changed && recipe == null then known.recipe else recipe);

  # Addresses in uv.lock by the sha256 of their files, and the indexes of its packages by name.
  addresses = listToAttrs (concatMap addressed locked);
  indexes = listToAttrs (map (package: { inherit (package) name; value = package.source.registry; })
    (filter (package: match "https?://.*" (package.source.registry or "") != null
      && match "https?://[^/]*[.]invalid(:[0-9]+)?(/.*)?" package.source.registry == null) locked));

  # The address and commit of a git package: `git+https://…` without what follows the `?` and `#`.
  git = name:
    let
      package = head (filter (package: package.name == name && package.source ? git) locked
        ++ [ (throw "akb: ${name} is a git package of akb.lock, and uv.lock has no address of it: give it in `sources`") ]);
    in
    head (match "([^?#]*).*" package.source.git);
}

# Derivations that are built by akb, from the text of akb.lock alone. Only `builtins` is used: no nixpkgs, no import
# from derivation, and no marker is evaluated here.
#
#   let akb = import ./nix { akb = ./akb; }; in akb.build { src = ./my-project; }
#
# Each function takes one attribute set:
#   src      folder with uv.lock, pyproject.toml, akb.lock and perhaps akb.toml
#   release  instead of src: a release whose lock akb knows, such as "authentik-deps@2026.2.0"
#   lock     another akb.lock than src's; recipe: another akb.toml
#   inputs   list of store paths with Python, compiler and libraries, of any origin: the result refers to them.
#            Without: the Debian packages that akb.lock pins; the result holds copies and refers to nothing
#   akb      the program (a path, or a derivation with bin/akb); system
#   extras, groups, package   what of the project is installed
#   wheels   what `wheels` gives, or `true` for just that: each source is then compiled in a derivation of its own
#   index, debianMirror, caBundle   where downloads come from, if not from where akb looks by default
#   name, attrs   of the derivation: `attrs` is added to its attributes as it is
#   allowedReferences   what the result may refer to, such as [ "out" ]
#   files, debs   other derivations (or paths) with the files than `fetch` and `fetchInputs` of the same arguments
#   urlOf    for fetchFiles: { name, version, file, sha256, size }: the address of a file, or null
#   sources  trees of git packages by name, instead of what Nix fetches at evaluation
#   site, hash   of relink and site
{
  akb,
  # Flakes evaluate without a system of this machine.
  system ? builtins.currentSystem or (throw "akb: in pure evaluation, name the system: { system = \"x86_64-linux\"; … }"),
}:
let
  defaults = { inherit akb system; };
  text = import ./text.nix;
  project = import ./project.nix;
  inherit (builtins)
    attrNames attrValues concatMap elem filter foldl' head intersectAttrs isAttrs listToAttrs mapAttrs match removeAttrs toFile;

  # Variables of the caller that fixed-output derivations may see.
  environment = [
    "http_proxy" "https_proxy" "all_proxy" "no_proxy" "HTTP_PROXY" "HTTPS_PROXY" "ALL_PROXY" "NO_PROXY"
    "NIX_SSL_CERT_FILE" "SSL_CERT_FILE" "UV_DEFAULT_INDEX" "UV_INDEX" "PIP_INDEX_URL" "PIP_EXTRA_INDEX_URL"
    "AKB_DEBIAN_MIRROR"
  ];

  # The program in whatever stands for it.
  program = akb: if isAttrs akb then "${akb}/bin/akb" else "${akb}";

  # Attributes that a stage gets as they were given.
  taken = names: args: listToAttrs (concatMap
    (name: if args.${name} or null == null then [ ] else [{ inherit name; value = args.${name}; }])
    names);
  selection = taken [ "extras" "groups" "package" "python" ];
  downloads = taken [ "index" "debianMirror" "caBundle" ];

  # For the derivations that another one needs: what was said about that one only is left out.
  others = args: removeAttrs args [ "name" "attrs" "allowedReferences" "files" "wheels" ];

  derive = args: name: stage: attributes: derivation ({
    inherit (defaults // args) system;
    inherit stage;
    name = text.storeName name;
    builder = program (defaults // args).akb;
    args = [ "nix-build" ];
    __structuredAttrs = true;
  } // attributes // args.attrs or { });

  fixed = mode: hash: {
    outputHashMode = mode;
    outputHashAlgo = "sha256";
    outputHash = hash;
    impureEnvVars = environment;
  };

  # The system that a lock's files are for is the system that they are used on.
  for = args: lock:
    let
      machine = head (match "([^-]*)-.*" (defaults // args).system);
      platform = lock.target.platform;
    in
    if text.startsWith "${machine}-" platform then lock
    else throw "akb: akb.lock is for ${platform}, and the derivation for ${(defaults // args).system}: lock for it with `akb lock`";

  open = args:
    let opened = project args;
    in opened // { lock = for args opened.lock; };

  noSource = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

  # The text of an akb.lock with just these parts.
  part = lock: content: toFile "akb.lock" (text.toml ({ version = 1; source = noSource; inherit (lock) target; } // content));

  # One file of a package, by an address or by its name in an index.
  fetchOne = args: p: entry:
    let
      facts = { inherit (entry) name file sha256; version = entry.version or null; size = entry.size or null; };
      address = if args ? urlOf then args.urlOf facts else p.addresses.${entry.sha256} or null;
      index = args.index or [ ] ++ (if p.indexes ? ${entry.name} then [ p.indexes.${entry.name} ] else [ ]);
    in
    if address != null then download entry.file address entry.sha256
    else derive (others args) entry.file "fetch-file" ({ inherit (entry) file; project = entry.name; }
      // fixed "flat" entry.sha256 // downloads args // (if index == [ ] then { } else { inherit index; }));

  # Nix's own download of one file.
  download = name: url: sha256: derivation ({
    inherit url;
    urls = [ url ];
    name = text.storeName name;
    builder = "builtin:fetchurl";
    system = "builtin";
    executable = false;
    unpack = false;
    preferLocalBuild = true;
  } // fixed "flat" sha256);

  isSource = entry: entry ? build;
  isFile = entry: entry ? file;
  referenceOf = entry: if entry ? version then "${entry.name} ${entry.version}" else entry.name;

  # Entries of a lock by reference: what is installed goes before what only builds.
  entriesOf = p: listToAttrs (map (entry: { name = referenceOf entry; value = entry; }) (p.packages ++ p.builds));

  # Trees of git packages, by name.
  gitTrees = args: p: entries: listToAttrs (map
    (entry: {
      inherit (entry) name;
      value = (args.sources or { }).${entry.name} or (fetchGit {
        url = p.git entry.name;
        rev = entry.revision;
        allRefs = true;
      });
    })
    (filter (entry: entry.kind == "git") entries));
  gitSources = args: p: entries:
    let trees = gitTrees args p entries;
    in if trees == { } then { } else { sources = mapAttrs (_: tree: "${tree}") trees; };

  # What a build takes its Python, compiler and libraries from.
  basis = args: p:
    if args.inputs or null != null then { inherit (args) inputs; }
    else if args.debs or null != null then { inherit (args) debs; }
    else if p.lock ? inputs then { debs = [ (fetchInputs (others args)) ]; }
    else throw "akb: akb.lock pins no input packages: give `inputs`, a list of store paths with Python, compiler and libraries";

  fetch = args:
    let p = open args;
    in derive args (args.name or "${p.name}-files") "fetch" (p.attributes false // downloads args // fixed "recursive"
      (p.lock.fetch-hash or (throw
        "akb: akb.lock has no fetch-hash, since it has git packages or an older akb made it: use `fetchFiles`, or lock anew")));

  fetchFiles = args:
    let p = open args;
    in map (fetchOne args p) (filter isFile (attrValues (entriesOf p)));

  fetchInputs = args:
    let p = open args;
    in derive args (args.name or "${p.name}-debs") "fetch-inputs" (p.attributes false // downloads args // fixed "recursive"
      (p.lock.inputs-hash or (throw (if p.lock ? inputs
        then "akb: akb.lock has no inputs-hash: an older akb made it; run `akb lock` to make it anew"
        else "akb: akb.lock pins no input packages: lock with `akb lock --inputs debian`, or give `inputs`"))));

  # One derivation for each Debian package. Their addresses in the archive vanish, so Nix's own download is used only
  # where `debianMirror` is said to be `stable` (an archive of snapshots).
  fetchDebs = args@{ stable ? false, debianMirror ? null, ... }:
    let
      p = open args;
      one = pin:
        let file = baseNameOf pin.file;
        in
        if stable && debianMirror != null then download file "${debianMirror}/${pin.file}" pin.sha256
        else derive (others args) file "fetch-file" ({ inherit file; pool = pin.file; } // fixed "flat" pin.sha256 // downloads args);
    in
    map one p.lock.inputs.package;

  inputs = args:
    let
      p = open args;
      pins = p.lock.inputs or (throw "akb: akb.lock pins no input packages: lock with `akb lock --inputs debian`");
    in
    derive args (args.name or "debian-${pins.suite}") "inputs" {
      outputs = [ "out" "dev" ];
      lock = part p.lock { inputs = pins; };
      debs = args.debs or [ (fetchInputs (others args)) ];
    };

  # A wheel for each source of the lock, by its reference ("lxml 6.0.2"). Each depends on its own sources, its build
  # environment, its part of the recipe and the inputs; on nothing else of the project.
  wheels = args:
    let
      p = open args;
      given = others args;
      entries = entriesOf p;
      find = reference: entries.${reference} or (throw "akb: akb.lock refers to ${reference}, which it does not have");
      # An entry and all that builds it, by reference.
      closure = found: entry:
        if found ? ${referenceOf entry} then found
        else foldl' closure (found // { ${referenceOf entry} = entry; }) (map find entry.build or [ ]);
      # What a recipe says about a package and its build does not see.
      late = [ "inputs" "dlopen" "version" "file" "sha256" "git" "rev" "subdirectory" "path" "from-source" "build-requires" ];
      recipes = listToAttrs (map
        (name: { name = text.normalised name; value = removeAttrs p.recipe.package.${name} late; })
        (attrNames p.recipe.package or { }));
      alone = entry:
        let
          all = closure { } entry;
          of = list: filter (entry: all ? ${referenceOf entry} && all.${referenceOf entry} == entry) list;
          package = intersectAttrs { ${entry.name} = null; } recipes;
          recipe = if package == { } then { } else { inherit package; };
        in
        { lock = part p.lock ({ package = of p.packages; build = of p.builds; } // pins); }
        // (if recipe == { } then { } else { recipe = toFile "akb.toml" (text.toml recipe); });
      pins = if args.inputs or null == null && p.lock ? inputs then { inherit (p.lock) inputs; } else { };
      one = entry:
        let
          required = map find entry.build;
          isLocal = elem entry.kind [ "directory" "editable" "path" ];
        in
        derive given "${entry.name}-${entry.version or "0"}-wheel" "wheel" ({
          package = referenceOf entry;
          files = map (fetchOne args p) (filter isFile ([ entry ] ++ filter (needed: !(isSource needed)) required));
          wheels = map (needed: all.${referenceOf needed}) (filter isSource required);
        }
        // basis args p
        // (if isLocal then p.attributes true else alone entry)
        // gitSources args p [ entry ]);
      all = listToAttrs (map (entry: { name = referenceOf entry; value = one entry; })
        (filter isSource (attrValues entries)));
    in
    all;

  # What a build takes besides its inputs: files, wheels, selection.
  material = args: p:
    let
      given = args.wheels or [ ];
      all = if given == true then wheels (others args) else given;
    in
    {
      files = args.files or [ (fetch (others args)) ];
      wheels = if isAttrs all then attrValues all else all;
    }
    // p.attributes true // selection args // gitSources args p p.packages
    // taken [ "bytecode" "verify" ] args
    // (if args.allowedReferences or null == null then { }
      else { outputChecks.out = { inherit (args) allowedReferences; }; });

  build = args:
    let p = open args;
    in derive args (args.name or p.name) "build" (basis args p // material args p);

  site = args:
    let
      p = open args;
      hash = args.hash or (throw
        "akb: a site is a fixed-output derivation: give its `hash` (with hash = \"\" Nix says which one it has)");
    in
    derive args (args.name or "${p.name}-site") "site"
      (basis args p // material args p // fixed "recursive" hash);

  relink = args:
    let p = open args;
    in derive args (args.name or p.name) "relink"
      (basis args p // removeAttrs (material args p) [ "files" "wheels" ] // { inherit (args) site; });
in
{ inherit fetch fetchFiles fetchInputs fetchDebs inputs wheels build site relink; }

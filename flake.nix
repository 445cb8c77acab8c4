{
  description = "akb: a locked Python project becomes a finished, relinked, reproducible tree";

  # Only `packages.akb`, which compiles akb, needs nixpkgs (with Rust 1.95 or newer). Another one does as well:
  #   inputs.akb.inputs.nixpkgs.follows = "nixpkgs";
  # With no nixpkgs at all: the flake in nix/ (`?dir=nix`) has the functions alone, and nix/template needs not even them.
  # There is no flake.lock here: the flake that takes this one as its input locks it.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (builtins) any fromTOML listToAttrs match path readFile stringLength substring;
      each = value: listToAttrs (map (system: { name = system; value = value system; }) [ "x86_64-linux" "aarch64-linux" ]);

      # What compiling akb reads. Left out is .cargo/config.toml: it makes a plain `cargo build` static by naming the
      # host as the target, and nixpkgs names targets and linkers itself. Cargo wants to see the files of its [[test]]s.
      source = path {
        name = "akb-source";
        path = ./.;
        filter = file: _:
          let name = substring (stringLength (toString ./.) + 1) (stringLength file) file;
          in any (wanted: match wanted name != null)
            [ "Cargo[.](toml|lock)" "(src|builder|python-shim|vendor-hashes)(/.*)?" "tests(/[a-z_]+[.]rs)?" ];
      };

      # Static, against musl: the builder of a derivation sees no dynamic loader.
      compiled = system: nixpkgs.legacyPackages.${system}.pkgsStatic.rustPlatform.buildRustPackage {
        pname = "akb";
        version = (fromTOML (readFile ./Cargo.toml)).workspace.package.version;
        src = source;
        cargoLock.lockFile = ./Cargo.lock;
        # The tests fetch real packages, and unpack a Nix of their own.
        doCheck = false;
        meta = {
          description = "Turns a locked Python project into a finished, relinked, reproducible tree";
          mainProgram = "akb";
          platforms = [ "x86_64-linux" "aarch64-linux" ];
        };
      };

      # A lock is for one platform.
      release = "authentik-deps@2026.2.0";
      onlyFor = system: attributes: if system == "x86_64-linux" then attributes else { };
    in
    {
      # build, fetch, fetchFiles, fetchInputs, fetchDebs, inputs, wheels, site, relink: see nix/default.nix.
      lib = each (system: import ./nix { inherit system; inherit (self.packages.${system}) akb; });

      packages = each (system: rec {
        akb = compiled system;
        default = akb;
      } // onlyFor system {
        # The 175 locked dependencies of authentik, with their own Python and libraries.
        authentik-deps = self.lib.${system}.build { inherit release; };
      });

      checks = each (system: {
        inherit (self.packages.${system}) akb;
      } // onlyFor system {
        # The hashes in akb.lock are those of what is fetched.
        files = self.lib.${system}.fetch { inherit release; };
        debs = self.lib.${system}.fetchInputs { inherit release; };
        # Nothing but the result itself stays alive with it.
        closure = self.lib.${system}.build { inherit release; wheels = true; allowedReferences = [ "out" ]; };
      });

      templates.default = {
        path = ./nix/template;
        description = "A derivation whose builder is akb: no nixpkgs, no functions";
      };
    };
}

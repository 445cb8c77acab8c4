{
  description = "A locked Python project, built by akb alone";

  # Beside this file: uv.lock and pyproject.toml, akb.lock (written by `akb lock .`), and akb, the static program.
  outputs = { self }:
    let
      system = "x86_64-linux";
      lock = builtins.fromTOML (builtins.readFile ./akb.lock);
      decides = [ "uv.lock" "pyproject.toml" "akb.lock" "akb.toml" ];

      akb = attributes: derivation ({
        inherit system;
        builder = ./akb;
        src = builtins.path { name = "project"; path = ./.; filter = file: _: builtins.elem (baseNameOf file) decides; };
      } // attributes);

      # Fixed-output derivations may use the network; akb.lock says what comes out.
      fetched = hash: {
        outputHashMode = "recursive";
        outputHashAlgo = "sha256";
        outputHash = hash;
        impureEnvVars = [ "http_proxy" "https_proxy" "no_proxy" "NIX_SSL_CERT_FILE" "UV_DEFAULT_INDEX" "AKB_DEBIAN_MIRROR" ];
      };
    in
    {
      packages.${system} = rec {
        # Wheels, source distributions and what builds them.
        files = akb ({ name = "files"; stage = "fetch"; } // fetched lock.fetch-hash);
        # Python, compiler and libraries, as Debian packages.
        debs = akb ({ name = "debs"; stage = "fetch-inputs"; } // fetched lock.inputs-hash);
        # The environment: it refers to nothing outside of itself.
        default = akb { name = "environment"; stage = "build"; inherit files debs; allowedReferences = [ "out" ]; };
      };
    };
}

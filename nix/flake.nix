{
  description = "Derivations built by akb: the functions alone, with no inputs";

  # lib.<system> takes the program: (akb.lib.x86_64-linux ./akb).build { src = ./.; }
  outputs = { self }: {
    lib = builtins.listToAttrs (map
      (system: { name = system; value = akb: import ./. { inherit akb system; }; })
      [ "x86_64-linux" "aarch64-linux" ]);
  };
}

# Text: names that the store allows, TOML, names of packages.
let
  inherit (builtins)
    attrNames concatStringsSep filter isAttrs isList isString match replaceStrings split stringLength substring toJSON;

  # `text` with each match of `pattern` replaced by one dash.
  dashed = pattern: text: concatStringsSep "-" (filter isString (split pattern text));

  upper = [ "A" "B" "C" "D" "E" "F" "G" "H" "I" "J" "K" "L" "M" "N" "O" "P" "Q" "R" "S" "T" "U" "V" "W" "X" "Y" "Z" ];
  lower = [ "a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o" "p" "q" "r" "s" "t" "u" "v" "w" "x" "y" "z" ];

  # A value of TOML in one line. Strings of JSON are basic strings of TOML.
  inline = value:
    if isAttrs value then "{ ${concatStringsSep ", " (pairs value)} }"
    else if isList value then "[ ${concatStringsSep ", " (map inline value)} ]"
    else toJSON value;

  pairs = value: map (key: "${toJSON key} = ${inline value.${key}}") (attrNames value);
in
{
  # A name that the store allows: `1!2.0+cu%31` has characters that it does not. It must not begin with a dot, and has
  # 211 characters at most.
  storeName = text:
    let
      legal = dashed "[^a-zA-Z0-9+._?=-]+" text;
      plain = if match "[.].*" legal != null then "_${legal}" else legal;
    in
    if plain == "" then "file" else substring 0 200 plain;

  # A document of TOML.
  toml = value: concatStringsSep "\n" (pairs value) + "\n";

  # A package's name as indexes know it (PEP 503).
  normalised = name: dashed "[-_.]+" (replaceStrings upper lower name);

  startsWith = prefix: text: substring 0 (stringLength prefix) text == prefix;

  # `text` after its first `count` characters.
  after = count: text: substring count (stringLength text) text;
}

//! What a build does now, read from what it prints.

/// Suffixes of files that compilers read.
const SOURCES: [&str; 11] = [".c", ".cc", ".cpp", ".cxx", ".pyx", ".rs", ".f", ".f90", ".m", ".s", ".S"];

/// The name of the file that `line` says is compiled now: a compiler's command line, Cython's or ninja's progress.
pub(super) fn doing(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    let file = if is_compiler(first) {
        words.skip_while(|word| *word != "-c").nth(1)?
    } else if line.contains("Cythonizing ") || (first.starts_with('[') && first.contains('/')) {
        words.last()?.trim_end_matches(".o")
    } else {
        return None;
    };
    let name = file.trim_matches(['\'', '"']).rsplit('/').next()?;
    SOURCES.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix)).then_some(name)
}

fn is_compiler(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word).trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    ["gcc", "g++", "cc", "c++", "clang", "clang++", "gfortran"]
        .iter()
        .any(|compiler| name == *compiler || name.strip_suffix(compiler).is_some_and(|prefix| prefix.ends_with('-')))
}

#[cfg(test)]
mod tests {
    use super::doing;

    #[test]
    fn names_what_is_compiled() {
        for (line, expected) in [
            ("x86_64-linux-gnu-gcc -O2 -fPIC -I/usr/include -c src/lxml/etree.c -o build/etree.o", Some("etree.c")),
            ("/usr/bin/gcc-16 -c a.c", Some("a.c")),
            ("g++ -O2 -c 'x y/b.cpp' -o b.o", None),
            ("c++ -c x/b.cpp -o b.o", Some("b.cpp")),
            ("gcc -shared build/etree.o -o etree.so", None),
            ("[ 3/30] Cythonizing gssapi/raw/chan_bindings.pyx", Some("chan_bindings.pyx")),
            ("[2/9] Compiling C object src/libx.a.p/y.c.o", Some("y.c")),
            ("copying src/lxml/etree.c -> build", None),
            ("", None),
            ("gcc -c", None),
        ] {
            assert_eq!(doing(line), expected, "{line}");
        }
    }
}

//! Patterns for file names and paths.

/// Whether `text` matches `pattern`: `?` stands for one character, `*` for any number of them, neither for `/`;
/// `**` stands for anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    // Most patterns differ from most texts before their first star.
    let plain = pattern.find(['*', '?']).unwrap_or(pattern.len());
    let (start, pattern) = pattern.split_at(plain);
    let Some(text) = text.strip_prefix(start) else { return false };
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // reachable[i]: the pattern so far matches the first i characters.
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    let mut rest = pattern.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        let everything = first == '*' && after.first() == Some(&'*');
        let mut next = vec![false; text.len() + 1];
        for index in 0..=text.len() {
            let previous = index.checked_sub(1).map(|index| (text[index], index));
            next[index] = match (first, previous) {
                ('*', None) => reachable[0],
                ('*', Some((character, before))) => {
                    reachable[index] || next[before] && (everything || character != '/')
                }
                ('?', Some((character, before))) => reachable[before] && character != '/',
                (wanted, Some((character, before))) => reachable[before] && character == wanted,
                (_, None) => false,
            };
        }
        reachable = next;
        rest = if everything { &after[1..] } else { after };
    }
    reachable[text.len()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn follows_its_rules() {
        for (pattern, text, expected) in [
            ("libcuda.so.*", "libcuda.so.1", true),
            ("libcuda.so.?", "libcuda.so.12", false),
            ("lib*", "lib", true),
            ("a/*.so", "a/b/c.so", false),
            ("a/**.so", "a/b/c.so", true),
            ("**/c.so", "a/b/c.so", true),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("x*y*z", "xyyz", true),
            ("x*y*z", "xzy", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}

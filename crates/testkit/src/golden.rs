//! Golden files: what the code prints, compared with what is checked in; `BLESS=1` (`cargo xtask bless`) rewrites.

use std::{fs, path::Path};

/// Compares `actual` with the file, or writes it when `BLESS` is set. Panics with a line diff when they differ.
pub fn check(file: &Path, actual: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(file, actual).unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
        return;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; after reading why, `cargo xtask bless` accepts:\n{}",
        file.display(),
        difference(&expected, actual)
    );
}

/// The lines that differ, `-` expected and `+` actual, without a library: prefix and suffix in common are left out.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let removed = old[start..old.len() - end].iter().map(|line| format!("- {line}"));
    let added = new[start..new.len() - end].iter().map(|line| format!("+ {line}"));
    let place = format!("@ line {}", start + 1);
    std::iter::once(place).chain(removed).chain(added).collect::<Vec<_>>().join("\n")
}

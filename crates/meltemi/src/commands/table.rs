//! Tables for people: columns as wide as their widest cell, the heading in bold where a terminal shows it.
//!
//! Invariant: no cell is cut and no line ends in spaces, so that `awk` and `grep` find whole words.

use crate::console::outln;
use owo_colors::{OwoColorize, Style};

/// Prints a heading and rows; `paint` colours a cell as it is on the screen.
pub(super) fn print(heading: &[&str], rows: &[Vec<String>], paint: impl Fn(&str) -> Style) {
    let heading: Vec<String> = heading.iter().map(|&word| word.to_owned()).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width = |at: usize| all().map(|row| row.get(at).map_or(0, |cell| cell.chars().count())).max();
    let widths: Vec<usize> = (0..heading.len()).map(|at| width(at).unwrap_or_default()).collect();
    line(&heading, &widths, |_| Style::new().bold());
    for row in rows {
        line(row, &widths, &paint);
    }
}

fn line(row: &[String], widths: &[usize], paint: impl Fn(&str) -> Style) {
    let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or_default();
    let mut text = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
        text += &format!("{}", cell.style(paint(cell)));
        if at < last {
            text += &" ".repeat(width - cell.chars().count() + 3);
        }
    }
    outln!("{text}");
}

/// No colours.
pub(super) fn plain(_: &str) -> Style {
    Style::new()
}

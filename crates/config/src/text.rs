//! Small turns of phrase for messages: quoting, lists, "did you mean".

/// The closest of the known words, if one is close enough to be meant.
pub(crate) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(word);
    if let Some(same) = known.iter().find(|name| plain(name) == wanted) {
        return Some(same);
    }
    let limit = match wanted.len() {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(&wanted, &plain(name)), *name));
    let near = near.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance);
    // `hosts` for `host`, `matches` for `match`: one begins with the other.
    let prefix = || known.iter().copied().find(|name| begins(&plain(name), &wanted));
    near.map(|(_, name)| name).or_else(prefix)
}

fn begins(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.len() >= 4 && long.starts_with(short)
}

/// A protobuf field name in camelCase: `access_log_file` is `accessLogFile`.
pub(crate) fn camel(name: &str) -> std::borrow::Cow<'_, str> {
    if !name.contains('_') {
        return name.into();
    }
    let mut camel = String::with_capacity(name.len());
    for (position, part) in name.split('_').enumerate() {
        let mut chars = part.chars();
        match chars.next() {
            Some(first) if position > 0 => {
                camel.push(first.to_ascii_uppercase());
                camel.push_str(chars.as_str());
            }
            _ => camel.push_str(part),
        }
    }
    camel.into()
}

/// The text in double quotes, cut to a readable length.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// `a, b and c`, cut when long.
pub(crate) fn list(words: &[&str]) -> String {
    const MOST: usize = 12;
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        many if many.len() > MOST => format!("{}, …", many[..MOST].join(", ")),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_finds_typos_cases_and_plurals() {
        let names = ["hosts", "gateways", "http", "exportTo", "match", "timeout"];
        for (typed, meant) in [
            ("host", Some("hosts")),
            ("gatways", Some("gateways")),
            ("export_to", Some("exportTo")),
            ("exportto", Some("exportTo")),
            ("matches", Some("match")),
            ("timeOut", Some("timeout")),
            ("nothing", None),
        ] {
            assert_eq!(closest(typed, &names), meant, "{typed}");
        }
    }
}

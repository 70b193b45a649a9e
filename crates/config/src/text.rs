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

/// The bytes that a base64 text stands for; line breaks are skipped. `None` if it is none.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    let symbols = text.bytes().filter(|b| !b.is_ascii_whitespace());
    for symbol in symbols.take_while(|b| *b != b'=') {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
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

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("bWVsdGVtaQ==").as_deref(), Some(&b"meltemi"[..]));
        assert_eq!(base64("bWVs\ndGVtaQ").as_deref(), Some(&b"meltemi"[..]));
        assert_eq!(base64("b!"), None);
    }
}

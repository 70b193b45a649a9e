//! Naming one of several things: `NAME.NAMESPACE`, or as much of it as tells them apart. Used by every command that takes the
//! name of a workload, a proxy or a service.
//!
//! Invariant: what is named by nobody or by several is an error that says what there is.

use crate::failure::Failure;

/// Something that has a name in a namespace.
pub(super) trait Named {
    /// Its name.
    fn name(&self) -> &str;
    /// Its namespace.
    fn namespace(&self) -> &str;
    /// What it is, for messages.
    fn kind(&self) -> &str;
}

/// How many names a message lists.
const LISTED: usize = 8;

/// The one that `wanted` names: in full, else by name alone, else by the beginning of its name (`reviews-v1` of
/// `reviews-v1-6b9f`).
pub(super) fn choose<'a, T: Named>(wanted: &str, what: &str, all: &'a [T]) -> Result<&'a T, Failure> {
    let full = |one: &&T| wanted.rsplit_once('.') == Some((one.name(), one.namespace()));
    let alone = |one: &&T| one.name() == wanted;
    let begins = |one: &&T| {
        let (name, namespace) = match wanted.rsplit_once('.') {
            Some((name, namespace)) if namespace == one.namespace() => (name, namespace),
            _ => (wanted, one.namespace()),
        };
        namespace == one.namespace()
            && one.name().strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    for matches in [&full as &dyn Fn(&&T) -> bool, &alone, &begins] {
        let found: Vec<&T> = all.iter().filter(matches).collect();
        match found[..] {
            [] => {}
            [one] => return Ok(one),
            _ => {
                let hint = format!("name one of them in full: {}", listed(&found));
                return Err(Failure::usage(format!("{wanted:?} names several {what}s"), hint));
            }
        }
    }
    let hint = match nearest(wanted, all) {
        Some(near) => format!("did you mean {}?", shown(near)),
        None if all.is_empty() => format!("there is no {what} at all"),
        None => format!("there are: {}", listed(&all.iter().collect::<Vec<_>>())),
    };
    Err(Failure::usage(format!("no {what} is called {wanted:?}"), hint))
}

fn shown<T: Named>(one: &T) -> String {
    let kind = if one.kind().is_empty() { String::new() } else { format!(" ({})", one.kind()) };
    format!("{}.{}{kind}", one.name(), one.namespace())
}

fn listed<T: Named>(all: &[&T]) -> String {
    let mut names: Vec<String> = all.iter().take(LISTED).map(|one| shown(*one)).collect();
    if all.len() > LISTED {
        names.push(format!("and {} more", all.len() - LISTED));
    }
    names.join(", ")
}

/// The only one whose name has the wanted one in it, else the one that differs by the fewest letters, if those are few.
fn nearest<'a, T: Named>(wanted: &str, all: &'a [T]) -> Option<&'a T> {
    let name = wanted.split('.').next().unwrap_or(wanted);
    let mut holding = all.iter().filter(|one| name.len() > 2 && one.name().contains(name));
    if let (Some(only), None) = (holding.next(), holding.next()) {
        return Some(only);
    }
    let distance = |one: &T| {
        let stem = one.name().get(..name.len()).unwrap_or(one.name());
        edits(name, one.name()).min(edits(name, stem) + 1)
    };
    let nearest = all.iter().min_by_key(|one| (distance(one), one.name().len()))?;
    (distance(nearest) <= 1 + name.len() / 3).then_some(nearest)
}

/// Letters to insert, remove or replace.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str, &'static str);

    impl Named for One {
        fn name(&self) -> &str {
            self.0
        }
        fn namespace(&self) -> &str {
            self.1
        }
        fn kind(&self) -> &str {
            ""
        }
    }

    #[test]
    fn names_are_as_long_as_they_must_be() {
        let all =
            [One("reviews-v1-6b9f", "shop"), One("web", "shop"), One("web", "blog"), One("web-2", "blog")];
        let name = |wanted| choose(wanted, "workload", &all).map(|one| format!("{}.{}", one.0, one.1));
        assert_eq!(name("web.blog").unwrap(), "web.blog");
        assert_eq!(name("reviews-v1").unwrap(), "reviews-v1-6b9f.shop");
        assert_eq!(name("reviews-v1.shop").unwrap(), "reviews-v1-6b9f.shop");
        assert_eq!(name("web").unwrap_err().to_string(), "\"web\" names several workloads");
        assert_eq!(
            choose("reveiws", "workload", &all).err().unwrap().hint(),
            "did you mean reviews-v1-6b9f.shop?"
        );
        assert_eq!(
            choose("eviews", "workload", &all).err().unwrap().hint(),
            "did you mean reviews-v1-6b9f.shop?"
        );
        assert!(choose("x", "workload", &all).err().unwrap().hint().starts_with("there are: "));
        assert_eq!((edits("kitten", "sitting"), edits("", "abc"), edits("a", "a")), (3, 3, 0));
    }
}

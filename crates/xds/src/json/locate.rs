//! Where in a text something stands, found by the way to it: a second reading, made for an error message only.
//!
//! Called by `json` after a fault. Invariant: the place is the thing's own, or that of the closest one around it that
//! could be found.

use granit_parser::{Event, Parser, Span, StrInput};

/// A step of the way into a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a field.
    Key(String),
    /// The name of a field itself.
    Name(String),
    /// An item of a list, from 0.
    Item(usize),
    /// The value under a key of a map.
    Entry(String),
}

/// The way as people write it: `static_resources.listeners[0].name`.
pub(super) fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(name) | Step::Name(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Step::Item(at) => path.push_str(&format!("[{at}]")),
            Step::Entry(key) => path.push_str(&format!("[{key:?}]")),
        }
    }
    path
}

/// Line and column, from 1, of what the way leads to.
pub(super) fn locate(text: &str, steps: &[Step]) -> Option<(usize, usize)> {
    let mut events = Events { parser: Parser::new_from_str(text) };
    let (event, span) = events.next()?;
    let span = events.find(event, span, steps)?;
    Some((span.start.line(), span.start.col() + 1))
}

struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Events<'a> {
    /// The next event that belongs to the content.
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            let (event, span) = self.parser.next_event()?.ok()?;
            match event {
                Event::Scalar(..)
                | Event::Alias(..)
                | Event::MappingStart(..)
                | Event::MappingEnd
                | Event::SequenceStart(..)
                | Event::SequenceEnd => return Some((event, span)),
                _ => {}
            }
        }
    }

    /// Follows the way from the node that `event` opens. `None` when the text ends.
    fn find(&mut self, event: Event<'a>, span: Span, steps: &[Step]) -> Option<Span> {
        let Some((step, rest)) = steps.split_first() else { return Some(span) };
        match (event, step) {
            (Event::MappingStart(..), Step::Key(name) | Step::Entry(name) | Step::Name(name)) => loop {
                let (key, key_span) = self.next()?;
                let is_it = match &key {
                    Event::MappingEnd => return Some(span),
                    Event::Scalar(text, ..) => **text == **name || super::same_name(name, text),
                    _ => false,
                };
                if is_it && matches!(step, Step::Name(_)) {
                    return Some(key_span);
                }
                self.skip(&key)?;
                let (value, value_span) = self.next()?;
                match is_it {
                    true => return self.find(value, value_span, rest),
                    false => self.skip(&value)?,
                }
            },
            (Event::SequenceStart(..), Step::Item(wanted)) => {
                let mut at = 0;
                loop {
                    let (item, item_span) = self.next()?;
                    if matches!(item, Event::SequenceEnd) {
                        return Some(span);
                    }
                    if at == *wanted {
                        return self.find(item, item_span, rest);
                    }
                    self.skip(&item)?;
                    at += 1;
                }
            }
            _ => Some(span),
        }
    }

    /// Passes over the rest of the node that `event` opens.
    fn skip(&mut self, event: &Event<'a>) -> Option<()> {
        let mut depth = usize::from(matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)));
        while depth > 0 {
            match self.next()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }
}

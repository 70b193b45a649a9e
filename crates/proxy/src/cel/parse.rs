//! Tokens to a tree in which attributes and functions are found already.
//!
//! Invariant: a tree is at most [`DEPTH`] deep and comes from at most [`LONGEST`] bytes, whoever wrote it.

use super::{
    attributes::{self, Attribute, Group},
    functions::{self, Call},
    lexer::{Token, tokens},
};

/// Nesting, as deep as Envoy's parser goes at most; every level is a few frames here.
const DEPTH: usize = 100;
/// Bytes of an expression.
const LONGEST: usize = 64 * 1024;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// `request.path`.
    Attribute(Attribute),
    /// `request`.
    Group(Group),
    /// A name that means nothing: no value.
    Unknown,
    Select(Box<Node>, Box<str>),
    /// `has(x.y)`.
    Has(Box<Node>, Box<str>),
    Index(Box<Node>, Box<Node>),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operation, Box<Node>, Box<Node>),
    /// All of them.
    And(Box<[Node]>),
    /// Any of them.
    Or(Box<[Node]>),
    /// Condition, then, else.
    Conditional(Box<[Node; 3]>),
    Call(Call),
}

/// What stands between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// Parses an expression.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0, height: 0, end: text.len() };
    let node = parser.conditional()?;
    match parser.tokens.get(parser.at) {
        None => Ok(node),
        Some((at, _)) => Err(format!("unexpected text at {at}")),
    }
}

struct Parser<'t> {
    tokens: &'t [(usize, Token)],
    at: usize,
    /// How deep we are.
    depth: usize,
    /// How deep the node is that was parsed last: what stands in a row from the left is a tree as well.
    height: usize,
    end: usize,
}

impl Parser<'_> {
    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some((_, Token::Sign(found))) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) { Ok(()) } else { Err(format!("{sign} is missing at {}", self.place())) }
    }

    fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(self.end, |(at, _)| *at)
    }

    fn name(&mut self) -> Option<Box<str>> {
        let Some((_, Token::Name(name))) = self.tokens.get(self.at) else { return None };
        self.at += 1;
        Some(name.clone())
    }

    /// Every way down comes through here.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == DEPTH {
            return Err(format!("nested deeper than {DEPTH}"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// A node is put on top of the one parsed last, and of another of height `other`.
    fn grow(&mut self, other: usize) -> Result<(), String> {
        self.height = self.height.max(other) + 1;
        if self.height > DEPTH {
            return Err(format!("nested deeper than {DEPTH}"));
        }
        Ok(())
    }

    /// Parses parts that stand beside each other; the height is that of the highest.
    fn parts(
        &mut self,
        sign: &str,
        part: fn(&mut Self) -> Result<Node, String>,
    ) -> Result<Vec<Node>, String> {
        let mut parts = vec![part(self)?];
        while self.takes(sign) {
            let highest = self.height;
            parts.push(part(self)?);
            self.height = self.height.max(highest);
        }
        if parts.len() > 1 {
            self.grow(0)?;
        }
        Ok(parts)
    }

    fn conditional(&mut self) -> Result<Node, String> {
        self.deeper(|parser| {
            let condition = parser.any()?;
            if !parser.takes("?") {
                return Ok(condition);
            }
            let first = parser.height;
            let yes = parser.any()?;
            parser.expect(":")?;
            let second = parser.height;
            let no = parser.conditional()?;
            parser.grow(first.max(second))?;
            Ok(Node::Conditional(Box::new([condition, yes, no])))
        })
    }

    fn any(&mut self) -> Result<Node, String> {
        let mut parts = self.parts("||", Self::all)?;
        Ok(if parts.len() > 1 { Node::Or(parts.into()) } else { parts.swap_remove(0) })
    }

    fn all(&mut self) -> Result<Node, String> {
        let mut parts = self.parts("&&", Self::relation)?;
        Ok(if parts.len() > 1 { Node::And(parts.into()) } else { parts.swap_remove(0) })
    }

    fn relation(&mut self) -> Result<Node, String> {
        use Operation::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, Unequal};
        const SIGNS: [(&str, Operation); 6] = [
            ("==", Equal),
            ("!=", Unequal),
            ("<=", LessOrEqual),
            (">=", GreaterOrEqual),
            ("<", Less),
            (">", Greater),
        ];
        let mut left = self.sum()?;
        loop {
            let word = matches!(self.tokens.get(self.at), Some((_, Token::Name(name))) if &**name == "in");
            let operation = if word {
                self.at += 1;
                In
            } else if let Some((_, operation)) = SIGNS.iter().find(|(sign, _)| self.takes(sign)) {
                *operation
            } else {
                return Ok(left);
            };
            let height = self.height;
            left = Node::Binary(operation, Box::new(left), Box::new(self.sum()?));
            self.grow(height)?;
        }
    }

    fn sum(&mut self) -> Result<Node, String> {
        self.chain(&[("+", Operation::Add), ("-", Operation::Subtract)], Self::product)
    }

    fn product(&mut self) -> Result<Node, String> {
        let signs = [("*", Operation::Multiply), ("/", Operation::Divide), ("%", Operation::Remainder)];
        self.chain(&signs, Self::unary)
    }

    /// Operations of one rank, from the left; each makes the tree one deeper.
    fn chain(
        &mut self,
        signs: &[(&str, Operation)],
        part: fn(&mut Self) -> Result<Node, String>,
    ) -> Result<Node, String> {
        let mut left = part(self)?;
        loop {
            let Some((_, operation)) = signs.iter().find(|(sign, _)| self.takes(sign)) else {
                return Ok(left);
            };
            let height = self.height;
            left = Node::Binary(*operation, Box::new(left), Box::new(part(self)?));
            self.grow(height)?;
        }
    }

    fn unary(&mut self) -> Result<Node, String> {
        if self.takes("!") {
            return self.deeper(|parser| {
                let node = Node::Not(Box::new(parser.unary()?));
                parser.grow(0).map(|()| node)
            });
        }
        if !self.takes("-") {
            return self.member();
        }
        // The least integer is a number only with its sign.
        match self.tokens.get(self.at) {
            Some((_, Token::Int(value))) if *value <= i64::MAX as u64 + 1 => {
                self.at += 1;
                self.height = 1;
                let node = Node::Int((*value as i64).wrapping_neg());
                self.members(node)
            }
            _ => self.deeper(|parser| {
                let node = Node::Negate(Box::new(parser.unary()?));
                parser.grow(0).map(|()| node)
            }),
        }
    }

    fn member(&mut self) -> Result<Node, String> {
        let node = self.primary()?;
        self.members(node)
    }

    fn members(&mut self, mut node: Node) -> Result<Node, String> {
        loop {
            let height = self.height;
            if self.takes("[") {
                node = Node::Index(Box::new(node), Box::new(self.conditional()?));
                self.expect("]")?;
            } else if self.takes(".") {
                let place = self.place();
                let name = self.name().ok_or_else(|| format!("a name is missing at {place}"))?;
                node = match self.takes("(") {
                    true => {
                        let arguments = self.arguments()?;
                        functions::method(&name, node, arguments)?
                    }
                    false => select(node, name),
                };
            } else {
                return Ok(node);
            }
            self.grow(height)?;
        }
    }

    /// Up to the closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<Node>, String> {
        self.items(")")
    }

    fn items(&mut self, close: &str) -> Result<Vec<Node>, String> {
        let (mut items, mut highest) = (Vec::new(), 0);
        while !self.takes(close) {
            items.push(self.conditional()?);
            highest = self.height.max(highest);
            if !self.takes(",") {
                self.expect(close)?;
                break;
            }
        }
        self.height = highest;
        Ok(items)
    }

    fn primary(&mut self) -> Result<Node, String> {
        if self.takes("(") {
            let node = self.conditional()?;
            return self.expect(")").map(|()| node);
        }
        if self.takes("[") {
            let items = self.items("]")?;
            return self.grow(0).map(|()| Node::List(items.into()));
        }
        if self.takes("{") {
            return self.map();
        }
        let place = self.place();
        let Some((_, token)) = self.tokens.get(self.at) else {
            return Err("the expression ends too early".to_owned());
        };
        self.at += 1;
        self.height = 1;
        Ok(match token {
            Token::Int(value) => Node::Int(i64::try_from(*value).map_err(|_| "a number out of range")?),
            Token::Uint(value) => Node::Uint(*value),
            Token::Double(value) => Node::Double(*value),
            Token::Text(text) => Node::Text(text.clone()),
            Token::Bytes(bytes) => Node::Bytes(bytes.clone()),
            Token::Name(name) if self.takes("(") => match &**name {
                "has" => return self.has(place),
                name => {
                    let call = functions::function(name, self.arguments()?)?;
                    self.grow(0)?;
                    call
                }
            },
            Token::Name(name) => match &**name {
                "null" => Node::Null,
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                name => attributes::group(name).map_or(Node::Unknown, Node::Group),
            },
            Token::Sign(sign) => return Err(format!("unexpected {sign} at {place}")),
        })
    }

    fn map(&mut self) -> Result<Node, String> {
        let (mut entries, mut highest) = (Vec::new(), 0);
        while !self.takes("}") {
            let key = self.conditional()?;
            self.expect(":")?;
            highest = self.height.max(highest);
            entries.push((key, self.conditional()?));
            highest = self.height.max(highest);
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        self.height = highest;
        self.grow(0).map(|()| Node::Map(entries.into()))
    }

    fn has(&mut self, place: usize) -> Result<Node, String> {
        let error = || format!("has() takes one selection at {place}");
        let mut arguments = self.arguments()?;
        let argument = arguments.pop().filter(|_| arguments.is_empty()).ok_or_else(error)?;
        match argument {
            Node::Select(of, name) => Ok(Node::Has(of, name)),
            Node::Attribute(attribute) => {
                Ok(Node::Has(Box::new(Node::Group(attribute.group)), attribute.name.into()))
            }
            _ => Err(error()),
        }
    }
}

fn select(of: Node, name: Box<str>) -> Node {
    match of {
        Node::Group(group) => match attributes::find(group, &name) {
            Some(attribute) => Node::Attribute(attribute),
            None => Node::Select(Box::new(of), name),
        },
        of => Node::Select(Box::new(of), name),
    }
}

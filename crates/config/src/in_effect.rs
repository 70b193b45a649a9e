//! Which fields are in effect.

use crate::decode::Decoder;
use crate::object::Kind;
use crate::tree::Node;

/// Reports the fields of a resource that are not in effect yet.
pub(crate) fn report(_kind: Kind, _root: &Node<'_>, _cx: &mut Decoder) {}

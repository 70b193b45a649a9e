//! Rules of single resources beyond their schema, with Istio's meaning (SEM-034). Called by `load` for each mesh resource.

use crate::Object;
use crate::decode::Decoder;
use crate::tree::Node;

/// Checks one object; findings go to the decoder.
pub(crate) fn object(_object: &Object, _root: &Node<'_>, _cx: &mut Decoder) {}

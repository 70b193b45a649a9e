//! Tables from Istio's documented meaning, and an oracle that spells the patterns out.

use super::*;

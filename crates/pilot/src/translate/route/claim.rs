//! Conditions on claims as conditions on the metadata that the filter for tokens leaves behind.

use meltemi_xds::pb::envoy::r#type::matcher::v3 as envoy;

use super::string_match;
use crate::model::route::ClaimMatch;

/// Who leaves the claims of a token behind, and below which key.
const FILTER: &str = "envoy.filters.http.jwt_authn";
const PAYLOAD: &str = "payload";

/// A claim is a text, or a list of which one entry will do.
pub(super) fn metadata_match(model: &ClaimMatch) -> envoy::MetadataMatcher {
    use envoy::list_matcher::MatchPattern as ListPattern;
    use envoy::metadata_matcher::{PathSegment, path_segment::Segment};
    use envoy::value_matcher::MatchPattern;
    let value = |pattern| envoy::ValueMatcher { match_pattern: Some(pattern) };
    let pattern = match string_match(&model.value) {
        None => MatchPattern::PresentMatch(true),
        Some(text) => {
            let one_of = ListPattern::OneOf(Box::new(value(MatchPattern::StringMatch(text.clone()))));
            let list = envoy::ListMatcher { match_pattern: Some(one_of) };
            MatchPattern::OrMatch(envoy::OrMatcher {
                value_matchers: vec![
                    value(MatchPattern::StringMatch(text)),
                    value(MatchPattern::ListMatch(Box::new(list))),
                ],
            })
        }
    };
    let path = std::iter::once(PAYLOAD).chain(model.path.iter().map(|part| &**part));
    envoy::MetadataMatcher {
        filter: FILTER.to_owned(),
        path: path.map(|key| PathSegment { segment: Some(Segment::Key(key.to_owned())) }).collect(),
        value: Some(value(pattern)),
        invert: model.invert,
    }
}

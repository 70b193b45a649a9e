//! `status.conditions` that are false: a controller says that something does not hold.

use super::Analyzer;
use super::messages::NEGATIVE_CONDITION;
use super::report::Report;
use super::view::Mesh;
use crate::Kind;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "conditions",
    about: "conditions in the status of Services, ServiceEntries and AuthorizationPolicies",
    says: &[&NEGATIVE_CONDITION],
    run,
};

fn run(mesh: &Mesh<'_>, report: &mut Report) {
    for kind in [Kind::Service, Kind::ServiceEntry, Kind::AuthorizationPolicy] {
        for object in mesh.objects(kind) {
            for (index, condition) in object.conditions.iter().enumerate() {
                if &*condition.status != "False" {
                    continue;
                }
                let text = format!(
                    "A condition with a negative status is present: type={}, reason={}, message={}.",
                    condition.condition, condition.reason, condition.message
                );
                let hint = "mend what the message names; its controller will set the condition again";
                report.add(&NEGATIVE_CONDITION, object, &format!("status.conditions[{index}]"), text, hint);
            }
        }
    }
}

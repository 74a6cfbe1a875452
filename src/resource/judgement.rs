//! Whether a resource is as declared, and whether what is left may be done: one order of the questions for the check and for the deploy, so that both refuse
//! in the same words.

use super::{NodeState, Resource, Verdict};
use crate::question::Unanswered;

/// Compares, and turns a change into a refusal where something else on the node declares the same thing otherwise, or where the change is known to fail or
/// to end the connection. `earlier` are the resources of the run that are applied before this one: they may change what stands in the way, and make a change
/// due although the node is as declared now.
///
/// What a change is blocked by comes first: the caller knows whether it will exist, and asks [`Resource::refuse`] then.
///
/// # Errors
/// When a question has no answer.
pub fn judge(resource: &dyn Resource, node: &NodeState<'_>, earlier: &[&dyn Resource]) -> Result<Verdict, Unanswered> {
    let verdict = match resource.compare(node)? {
        Verdict::Converged { note } => match resource.due_after(node, earlier) {
            Some(change) => Verdict::Change(change),
            None => Verdict::Converged { note },
        },
        verdict @ (Verdict::Change(_) | Verdict::Blocked { .. } | Verdict::Refused(_)) => verdict,
    };
    if matches!(verdict, Verdict::Refused(_) | Verdict::Blocked { .. }) {
        return Ok(verdict);
    }
    let refused = match &verdict {
        Verdict::Change(_) => resource.refuse(node, earlier).or_else(|| resource.cuts(node, earlier)),
        Verdict::Converged { .. } | Verdict::Blocked { .. } | Verdict::Refused(_) => None,
    };
    let contradicted = || resource.contradicted(node).map(|found| found.filter(|found| !found.may_be_ended_by(earlier)));
    Ok(match refused {
        Some(reason) => Verdict::Refused(reason),
        None => contradicted()?.map_or(verdict, |found| Verdict::Refused(found.reason)),
    })
}

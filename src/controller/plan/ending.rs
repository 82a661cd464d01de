//! What is left to do in a namespace that is being deleted: nothing can be created there any more.

use super::super::effect::Effect;
use super::{Plan, Then};

/// The plan without what the API server would refuse. What ends tokens, takes Secrets away and tells in the status goes on.
pub fn in_ending_namespace(plan: Plan) -> Plan {
    let is_registration =
        |effect: &Effect| matches!(effect, Effect::Register(_) | Effect::AddFinalizer);
    if plan.effects.iter().any(is_registration) {
        // Its Secret could not be handed over. The resource is about to be deleted, and that is looked at.
        return Plan {
            effects: Vec::new(),
            then: Then::Rest(None),
        };
    }
    let mut effects = plan.effects;
    effects.retain(|effect| !matches!(effect, Effect::CreateSecret { .. } | Effect::Publish(_)));
    Plan { effects, ..plan }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EventReason;
    use crate::controller::effect::Notice;
    use crate::lifecycle::Reason;
    use crate::token::TokenId;

    #[test]
    fn what_ends_a_token_is_done_and_nothing_is_created() {
        let abort = Effect::Abort(TokenId([1; 16]), Reason::Deleted);
        let notice = Notice {
            reason: EventReason::Aborted,
            note: String::new(),
        };
        let plan = Plan {
            effects: vec![
                abort.clone(),
                Effect::RemoveFinalizer,
                Effect::Publish(notice),
            ],
            then: Then::PlanAgain,
        };
        assert_eq!(
            in_ending_namespace(plan),
            Plan {
                effects: vec![abort, Effect::RemoveFinalizer],
                then: Then::PlanAgain,
            }
        );
        let plan = Plan {
            effects: vec![Effect::AddFinalizer],
            then: Then::PlanAgain,
        };
        let nothing = Plan {
            effects: Vec::new(),
            then: Then::Rest(None),
        };
        assert_eq!(in_ending_namespace(plan), nothing);
    }
}

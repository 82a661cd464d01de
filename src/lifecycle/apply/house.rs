//! What concerns the store as a whole: settings, founding, and names that are to be used afresh.

use super::Apply;
use crate::lifecycle::command::{Forget, Founded, Operation, RaiseRules, Settings};
use crate::lifecycle::outcome::{
    AdoptKeyOutcome, ConfigureOutcome, ForgetOutcome, FoundedOutcome, HouseChange, Outcome,
    RaiseRulesOutcome,
};
use crate::lifecycle::state::RulesVersion;

/// What an operation that came to this changed beside records.
pub(super) fn change(operation: &Operation, outcome: &Outcome) -> Option<HouseChange> {
    match (operation, outcome) {
        (Operation::Founded(_), Outcome::Founded(FoundedOutcome::Founded)) => {
            Some(HouseChange::Founded)
        }
        (Operation::AdoptKey(key), Outcome::AdoptKey(AdoptKeyOutcome::Adopted)) => {
            Some(HouseChange::KeyAdopted {
                key_id: key.key_id,
                purpose: key.purpose,
            })
        }
        (Operation::Configure(_), Outcome::Configure(ConfigureOutcome::Changed)) => {
            Some(HouseChange::Configured)
        }
        (Operation::RaiseRules(raise), Outcome::RaiseRules(RaiseRulesOutcome::Raised)) => {
            Some(HouseChange::RulesRaised { to: raise.to })
        }
        (Operation::Forget(forget), Outcome::Forget(ForgetOutcome::Done)) => {
            Some(HouseChange::NameForgotten(forget.issuance.clone()))
        }
        _ => None,
    }
}

impl Apply<'_> {
    pub(super) fn configure(&mut self, settings: &Settings) -> ConfigureOutcome {
        let mut settings = settings.clone().by_rules(self.state.rules_version());
        // As proposed by who has not heard yet that later rules are in force: what it does not say stays.
        settings.namespaces = settings.namespaces.or(self.state.settings.namespaces);
        if settings == self.state.settings {
            return ConfigureOutcome::Unchanged;
        }
        if !settings.is_acceptable() {
            return ConfigureOutcome::Refused(Box::new(self.state.settings.clone()));
        }
        self.state.settings = settings;
        self.state.rebuild_schedules();
        ConfigureOutcome::Changed
    }

    pub(super) fn found(&mut self, founded: &Founded) -> FoundedOutcome {
        match &self.state.founded {
            Some(known) if known == founded => FoundedOutcome::Known,
            Some(_) => FoundedOutcome::Conflict,
            None if !founded.is_acceptable() => FoundedOutcome::Refused,
            None => {
                self.state.founded = Some(founded.clone());
                FoundedOutcome::Founded
            }
        }
    }

    pub(super) fn raise_rules(&mut self, raise: RaiseRules) -> RaiseRulesOutcome {
        match RulesVersion::from_number(raise.to) {
            None => RaiseRulesOutcome::Unknown,
            Some(to) if to <= self.state.rules => RaiseRulesOutcome::Known,
            Some(to) => {
                let kept_bounds = self.state.rules.keeps_bounds();
                self.state.rules = to;
                if to.keeps_bounds() && !kept_bounds {
                    self.keep_marks();
                    self.state.settings.namespaces.get_or_insert_default();
                }
                RaiseRulesOutcome::Raised
            }
        }
    }

    /// Its records stay as long as they would have: machines admitted by them can still be barred.
    pub(super) fn forget(&mut self, command: &Forget) -> ForgetOutcome {
        let Some(entry) = self.state.issuance(&command.issuance) else {
            return ForgetOutcome::NotFound;
        };
        if let Some(at) = self.state.record_of(&entry) {
            self.normalise(at);
            if !self.phase(at).is_terminal() {
                return ForgetOutcome::Live;
            }
        }
        if let Some(at) = self.state.issuances.find(&command.issuance) {
            self.state.issuances.remove(at);
        }
        ForgetOutcome::Done
    }
}

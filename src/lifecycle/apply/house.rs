//! What concerns the store as a whole: settings, founding, and names that are to be used afresh.

use super::Apply;
use crate::lifecycle::command::{Forget, Founded, Settings};
use crate::lifecycle::outcome::{ConfigureOutcome, ForgetOutcome, FoundedOutcome};

impl Apply<'_> {
    pub(super) fn configure(&mut self, settings: &Settings) -> ConfigureOutcome {
        if *settings == self.state.settings {
            return ConfigureOutcome::Unchanged;
        }
        if !settings.is_acceptable() {
            return ConfigureOutcome::Refused(Box::new(self.state.settings.clone()));
        }
        self.state.settings = settings.clone();
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

//! The epochs that statuses tell of, and which of them are believed.

use std::fmt;

use super::vault::FormerEpoch;

/// How far above everything that only administrators write a status is believed. Each founding, restore or recovery takes
/// one epoch more; whoever may write a status could otherwise use up all there are with a single one.
pub const BELIEVED_ABOVE: u64 = 1000;

/// What was told, beside what is known from elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToldEpochs {
    known: u64,
    /// The greatest that is believed.
    pub greatest: FormerEpoch,
    /// What is not believed.
    pub disbelieved: Option<Disbelieved>,
}

/// Statuses that tell of an epoch to which no store has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disbelieved {
    /// The greatest that was told of.
    pub told: FormerEpoch,
    /// How many more there are.
    more: usize,
    known: u64,
}

impl ToldEpochs {
    /// Nothing was told yet. `known`: the greatest that keys, the founding object, a snapshot or an administrator tell of.
    pub fn beside(known: u64) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// A status tells of this one.
    pub fn add(&mut self, epoch: u64, place: impl FnOnce() -> String) {
        if epoch <= self.known.saturating_add(BELIEVED_ABOVE) {
            if epoch > self.greatest.epoch {
                let place = place();
                self.greatest = FormerEpoch { epoch, place };
            }
            return;
        }
        let known = self.known;
        let more = match &mut self.disbelieved {
            Some(there) if epoch <= there.told.epoch => {
                there.more += 1;
                return;
            }
            there => there.as_ref().map_or(0, |there| there.more + 1),
        };
        let place = place();
        let told = FormerEpoch { epoch, place };
        self.disbelieved = Some(Disbelieved { told, more, known });
    }
}

impl fmt::Display for Disbelieved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FormerEpoch { epoch, place } = &self.told;
        write!(f, "{place}")?;
        if self.more > 0 {
            write!(f, ", like {} more,", self.more)?;
        }
        write!(f, " says storeEpoch {epoch}, ")?;
        match self.known {
            0 => write!(f, "and nothing else tells of any epoch")?,
            known => write!(f, "and nothing else tells of an epoch above {known}")?,
        }
        write!(
            f,
            ": it does not count, since somebody seems to have edited that status. Find out who may write it; \
             a JoinToken that is left alone by the new store has to be deleted and created again"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(known: u64, epochs: &[u64]) -> ToldEpochs {
        let mut told = ToldEpochs::beside(known);
        for epoch in epochs {
            told.add(*epoch, || format!("the status of JoinToken edge/n{epoch}"));
        }
        told
    }

    #[test]
    fn a_status_is_believed_so_far_above_what_is_known_and_no_further() {
        for known in [0, 7, 1 << 40] {
            let told = told(known, &[known + 1000, known + 1001, 1]);
            assert_eq!(told.greatest.epoch, known + 1000);
            assert_eq!(told.disbelieved.unwrap().told.epoch, known + 1001);
        }
        // Statuses are no evidence for one another.
        let steps: Vec<u64> = (1..9).map(|step| step * 1000).collect();
        assert_eq!(told(0, &steps).greatest.epoch, 1000);
        assert_eq!(told(u64::MAX, &[u64::MAX]).greatest.epoch, u64::MAX);
    }

    #[test]
    fn the_greatest_that_is_not_believed_is_named_with_the_number_of_the_others() {
        for epochs in [[3000, 2000, 4000], [4000, 2000, 3000], [2000, 3000, 4000]] {
            let said = told(7, &epochs).disbelieved.unwrap().to_string();
            let named = "the status of JoinToken edge/n4000, like 2 more, says storeEpoch 4000, and nothing else tells of an epoch above 7";
            assert!(said.starts_with(named), "{said}");
        }
        let said = told(0, &[2000]).disbelieved.unwrap().to_string();
        assert!(said.contains("n2000 says storeEpoch 2000, and nothing else tells of any epoch"));
        assert_eq!(told(0, &[0, 1000]).disbelieved, None);
    }
}

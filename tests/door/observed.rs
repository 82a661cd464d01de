//! An observer that remembers.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jointoken::bootstrap::{Answered, Class, DoorObserver, Limit, Refused};

#[derive(Default)]
pub struct Recorder {
    refused: Mutex<Vec<Refused>>,
    answered: Mutex<Vec<Answered>>,
    limits: Mutex<Vec<Limit>>,
    handshakes_failed: Mutex<usize>,
    turned_away: Mutex<usize>,
}

impl Recorder {
    pub fn refused(&self) -> Vec<Refused> {
        lock(&self.refused).clone()
    }

    /// Joins and acknowledgements.
    pub fn answered(&self) -> Vec<Answered> {
        let answered = lock(&self.answered);
        let of_joiners = answered.iter().filter(|a| !a.route.is_anonymous());
        of_joiners.cloned().collect()
    }

    /// What anybody may ask for.
    pub fn anonymous(&self) -> Vec<Answered> {
        let answered = lock(&self.answered);
        let anonymous = answered.iter().filter(|a| a.route.is_anonymous());
        anonymous.cloned().collect()
    }

    /// How often this limit was reached.
    pub fn reached(&self, limit: Limit) -> usize {
        let limits = lock(&self.limits);
        limits.iter().filter(|reached| **reached == limit).count()
    }

    pub fn classes(&self) -> Vec<Class> {
        self.answered()
            .iter()
            .map(|answered| answered.class)
            .collect()
    }

    pub fn handshakes_failed(&self) -> usize {
        *lock(&self.handshakes_failed)
    }

    pub fn turned_away(&self) -> usize {
        *lock(&self.turned_away)
    }
}

impl DoorObserver for Recorder {
    fn refused(&self, refusal: &Refused) {
        lock(&self.refused).push(refusal.clone());
    }

    fn answered(&self, answered: &Answered) {
        lock(&self.answered).push(answered.clone());
    }

    fn turned_away(&self, _address: IpAddr) {
        *lock(&self.turned_away) += 1;
    }

    fn limit_reached(&self, limit: Limit) {
        lock(&self.limits).push(limit);
    }

    fn handshake_failed(&self, _address: IpAddr) {
        *lock(&self.handshakes_failed) += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Limits the requests in progress: in total, per caller and per client address.
//!
//! Invariant: no caller and no address holds more than its share, so none can keep others out; a slot is free again
//! when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{Extensions, HeaderMap};

use super::{CallerKey, caller_key as caller_of};
use crate::http::address::{self, ClientNetwork};
use crate::http::middleware::BUSY_RETRY_AFTER;
use crate::http::problem::{ApiProblem, Code};
use crate::http::{RouterState, auth};

/// Whose share a slot counts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::http) enum SlotHolder {
    /// One caller, from any address.
    Caller(CallerKey),
    /// All callers from one network.
    Network(ClientNetwork),
}

impl SlotHolder {
    fn describe(&self) -> &'static str {
        match self {
            Self::Caller(_) => "caller",
            Self::Network(_) => "address",
        }
    }
}

/// The holders that a request counts for. While there are no keys everybody is the same caller (the operator), so only
/// addresses count; a request through the operator channel has no holder.
pub(in crate::http) fn slot_holders(
    app: &RouterState,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Vec<SlotHolder> {
    let caller = auth::identified_caller(extensions).filter(|caller| **caller != (app.operator)());
    let address = address::client_address(extensions, headers, &app.settings.trusted_proxies);
    let caller = caller.map(|principal| SlotHolder::Caller(caller_of(principal)));
    let network = address.map(|address| SlotHolder::Network(ClientNetwork::from_address(address)));
    caller.into_iter().chain(network).collect()
}

/// The limits and the current counts.
pub(in crate::http) struct ConcurrencyLimit {
    most: usize,
    share: usize,
    held: Mutex<HeldSlots>,
}

#[derive(Default)]
struct HeldSlots {
    in_all: usize,
    by_holder: HashMap<SlotHolder, usize>,
}

/// The slot of one request; dropping it frees it.
pub(in crate::http) struct RequestSlot {
    shares: Arc<ConcurrencyLimit>,
    holders: Vec<SlotHolder>,
}

impl ConcurrencyLimit {
    /// At most `most` slots in total and `share` per holder; a `share` of 0 means half of `most`.
    pub fn new(most: usize, share: usize) -> Self {
        Self {
            most,
            share: share_limit(most, share),
            held: Mutex::default(),
        }
    }

    /// Takes a slot that counts for each of the holders. 503 if all slots are used, 429 if a share is.
    pub fn acquire_slot(shares: &Arc<Self>, holders: Vec<SlotHolder>) -> Result<RequestSlot, ApiProblem> {
        let mut held = shares.lock_held();
        if held.in_all >= shares.most {
            let detail = format!("{} requests are worked on already", shares.most);
            return Err(ApiProblem::new(Code::Busy, detail).with_retry_after(Some(BUSY_RETRY_AFTER)));
        }
        let full = holders
            .iter()
            .find(|holder| held.by_holder.get(holder) >= Some(&shares.share));
        if let Some(full) = full {
            let detail = format!(
                "{} requests of this {} are worked on already",
                shares.share,
                full.describe()
            );
            return Err(ApiProblem::new(Code::TooManyRequests, detail).with_retry_after(Some(BUSY_RETRY_AFTER)));
        }
        held.in_all += 1;
        for holder in &holders {
            *held.by_holder.entry(holder.clone()).or_default() += 1;
        }
        let shares = shares.clone();
        Ok(RequestSlot { shares, holders })
    }

    fn lock_held(&self) -> MutexGuard<'_, HeldSlots> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The share in slots: 0 means half of `most`, but at least one.
pub(in crate::http) fn share_limit(most: usize, share: usize) -> usize {
    match share {
        0 => (most / 2).max(1),
        share => share,
    }
}

impl Drop for RequestSlot {
    fn drop(&mut self) {
        let mut held = self.shares.lock_held();
        held.in_all -= 1;
        for holder in &self.holders {
            let left = held.by_holder.get(holder).map_or(0, |own| own - 1);
            match left {
                0 => drop(held.by_holder.remove(holder)),
                left => drop(held.by_holder.insert(holder.clone(), left)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> SlotHolder {
        SlotHolder::Caller(("a".parse().unwrap(), name.to_owned()))
    }

    fn network(address: &str) -> SlotHolder {
        SlotHolder::Network(ClientNetwork::from_address(address.parse().unwrap()))
    }

    fn code(shares: &Arc<ConcurrencyLimit>, holders: Vec<SlotHolder>) -> Option<Code> {
        ConcurrencyLimit::acquire_slot(shares, holders)
            .err()
            .map(|problem| problem.code)
    }

    #[test]
    fn one_caller_and_one_address_leave_places_to_others() {
        let shares = Arc::new(ConcurrencyLimit::new(4, 0));
        let place = |name: &str, from: &str| ConcurrencyLimit::acquire_slot(&shares, vec![caller(name), network(from)]);
        let held = [place("u", "192.0.2.1").unwrap(), place("u", "192.0.2.2").unwrap()];
        let third = vec![caller("u"), network("192.0.2.3")];
        assert_eq!(code(&shares, third.clone()), Some(Code::TooManyRequests));
        let other = place("v", "192.0.2.1").unwrap();
        let same_address = vec![caller("w"), network("192.0.2.1")];
        assert_eq!(code(&shares, same_address), Some(Code::TooManyRequests));
        let last = place("w", "192.0.2.9").unwrap();
        assert_eq!(code(&shares, vec![caller("x")]), Some(Code::Busy));
        drop(held);
        assert_eq!(code(&shares, third), None);
        drop((other, last));
        let left = shares.lock_held();
        assert_eq!((left.in_all, left.by_holder.len()), (0, 0));
    }

    #[test]
    fn one_place_serves_whoever_comes() {
        let shares = Arc::new(ConcurrencyLimit::new(1, 0));
        let place = ConcurrencyLimit::acquire_slot(&shares, vec![caller("u")]);
        assert!(place.is_ok());
        assert_eq!(code(&shares, vec![caller("v")]), Some(Code::Busy));
        let held = Arc::new(ConcurrencyLimit::new(10, 3));
        let own: Vec<_> =
            std::iter::from_fn(|| ConcurrencyLimit::acquire_slot(&held, vec![caller("u")]).ok()).collect();
        assert_eq!(own.len(), 3);
    }
}

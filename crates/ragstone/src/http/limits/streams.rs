//! Limits concurrent streams, per caller and in total.
//!
//! Invariant: a slot is free again when it is dropped, which happens when the client disconnects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CallerKey;
use crate::http::problem::{ApiProblem, Code};

/// The limits (0 for none) and the open streams.
pub(super) struct StreamLimit {
    of_caller: usize,
    in_all: usize,
    open: Mutex<OpenStreams>,
}

#[derive(Default)]
struct OpenStreams {
    by_caller: HashMap<CallerKey, usize>,
    in_all: usize,
}

/// The slot of one stream; dropping it frees it.
pub struct StreamSlot {
    streams: Arc<StreamLimit>,
    caller: CallerKey,
}

impl StreamLimit {
    pub fn new(of_caller: usize, in_all: usize) -> Self {
        Self {
            of_caller,
            in_all,
            open: Mutex::default(),
        }
    }

    pub fn acquire_slot(streams: &Arc<Self>, caller: CallerKey) -> Result<StreamSlot, ApiProblem> {
        let full = |open: usize, most: usize| most != 0 && open >= most;
        let mut open = streams.lock_open();
        let own = open.by_caller.get(&caller).copied().unwrap_or_default();
        let (most, whose) = match (full(own, streams.of_caller), full(open.in_all, streams.in_all)) {
            (true, _) => (streams.of_caller, "of this caller"),
            (_, true) => (streams.in_all, "in all"),
            _ => {
                open.in_all += 1;
                open.by_caller.insert(caller.clone(), own + 1);
                let streams = streams.clone();
                return Ok(StreamSlot { streams, caller });
            }
        };
        let detail = format!("{most} streams {whose} are open already");
        Err(ApiProblem::new(Code::TooManyStreams, detail)
            .with_retry_after(Some(crate::http::middleware::BUSY_RETRY_AFTER)))
    }

    fn lock_open(&self) -> MutexGuard<'_, OpenStreams> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.streams.lock_open();
        open.in_all -= 1;
        let left = open.by_caller.get(&self.caller).map_or(0, |own| own - 1);
        match left {
            0 => drop(open.by_caller.remove(&self.caller)),
            left => drop(open.by_caller.insert(self.caller.clone(), left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_and_for_all_and_given_back() {
        let streams = Arc::new(StreamLimit::new(2, 3));
        let caller = |name: &str| ("a".parse().unwrap(), name.to_owned());
        let place = |name: &str| StreamLimit::acquire_slot(&streams, caller(name));
        let (first, second) = (place("u").unwrap(), place("u").unwrap());
        assert_eq!(place("u").err().unwrap().code, Code::TooManyStreams);
        let third = place("v").unwrap();
        assert_eq!(place("v").err().unwrap().code, Code::TooManyStreams);
        drop(first);
        let again = place("u").unwrap();
        assert!(place("v").is_err());
        drop((second, third, again));
        let open = streams.lock_open();
        assert_eq!((open.in_all, open.by_caller.len()), (0, 0));
    }

    #[test]
    fn nothing_set_is_no_limit() {
        let streams = Arc::new(StreamLimit::new(0, 0));
        let places: Vec<_> = (0..100)
            .map(|_| StreamLimit::acquire_slot(&streams, ("a".parse().unwrap(), "u".into())).ok())
            .collect();
        assert!(places.iter().all(Option::is_some));
    }
}

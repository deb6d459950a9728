//! Shares the parsers of a pool between tenants.
//!
//! Invariant: a tenant never holds more than its share, and a parser is never idle while a tenant below its share
//! waits. Of several such tenants the one that holds the fewest parsers is next, and of equals the one that waits
//! longest. So neither the number of files of one tenant nor the number of earlier tenants makes another tenant wait
//! for long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ragstone_core::id::TenantId;
use tokio::sync::oneshot;

/// One tenant's share is the number of parsers divided by this.
const SHARES: usize = 2;

/// The parsers of a pool, and how many of them each tenant holds.
#[derive(Debug)]
pub(super) struct FairShare {
    /// Most parsers that one tenant may hold.
    share: usize,
    max_waiting: usize,
    state: Mutex<ShareState>,
}

#[derive(Debug)]
struct ShareState {
    free: usize,
    held: HashMap<TenantId, usize>,
    /// Requests in the order of their arrival.
    waiting: Vec<QueuedRequest>,
}

#[derive(Debug)]
struct QueuedRequest {
    tenant: TenantId,
    permit: oneshot::Sender<ParserPermit>,
}

/// Permit to use one parser; dropping it returns the parser.
#[derive(Debug)]
pub(super) struct ParserPermit {
    shares: Arc<FairShare>,
    tenant: TenantId,
}

impl FairShare {
    /// Creates the shares of `parsers` (at least 1). A tenant may hold half of them, rounded down, but always one. At
    /// most `max_waiting` callers may wait.
    pub(super) fn new(parsers: usize, max_waiting: usize) -> Self {
        let parsers = parsers.max(1);
        Self {
            share: (parsers / SHARES).max(1),
            max_waiting,
            state: Mutex::new(ShareState {
                free: parsers,
                held: HashMap::new(),
                waiting: Vec::new(),
            }),
        }
    }

    /// Waits for a permit for `tenant`; fails with the number of waiting callers if they are too many.
    pub(super) async fn acquire_permit(shares: &Arc<Self>, tenant: &TenantId) -> Result<ParserPermit, usize> {
        let granted = {
            let mut state = shares.lock_state();
            // Waiting requests below their share were served already, so this one overtakes nobody.
            if state.free > 0 && state.count_held(tenant) < shares.share {
                return Ok(shares.grant_permit(&mut state, tenant.clone()));
            }
            state.waiting.retain(|waiting| !waiting.permit.is_closed());
            if state.waiting.len() >= shares.max_waiting {
                return Err(state.waiting.len());
            }
            let (turn, granted) = oneshot::channel();
            let tenant = tenant.clone();
            state.waiting.push(QueuedRequest { tenant, permit: turn });
            granted
        };
        Ok(granted
            .await
            .expect("only a turn ends the wait: the queue lives as long as its callers"))
    }

    fn grant_permit(self: &Arc<Self>, state: &mut ShareState, tenant: TenantId) -> ParserPermit {
        state.free -= 1;
        *state.held.entry(tenant.clone()).or_default() += 1;
        let shares = self.clone();
        ParserPermit { shares, tenant }
    }

    /// Gives free parsers to the waiting requests that may have them.
    fn serve_waiting(self: &Arc<Self>) {
        loop {
            let refused = {
                let mut state = self.lock_state();
                state.waiting.retain(|waiting| !waiting.permit.is_closed());
                let Some(next) = state.next_in_queue(self.share) else {
                    return;
                };
                let QueuedRequest { tenant, permit: turn } = state.waiting.remove(next);
                let granted = self.grant_permit(&mut state, tenant);
                turn.send(granted)
            };
            // The caller stopped waiting just now. Dropping its permit takes the lock, which is free again here.
            drop(refused);
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, ShareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release_permit(&self, tenant: &TenantId) {
        let mut state = self.lock_state();
        state.free += 1;
        let left = state.count_held(tenant).saturating_sub(1);
        match left {
            0 => drop(state.held.remove(tenant)),
            left => drop(state.held.insert(tenant.clone(), left)),
        }
    }
}

impl ShareState {
    fn count_held(&self, tenant: &TenantId) -> usize {
        self.held.get(tenant).copied().unwrap_or_default()
    }

    /// Index of the next request to serve; `None` if no waiting tenant may have a parser.
    fn next_in_queue(&self, share: usize) -> Option<usize> {
        let below = |waiting: &QueuedRequest| {
            let held = self.count_held(&waiting.tenant);
            (held < share).then_some(held)
        };
        let places = self.waiting.iter().enumerate();
        let next = places
            .filter_map(|(place, waiting)| Some((below(waiting)?, place)))
            .min();
        next.filter(|_| self.free > 0).map(|(_, place)| place)
    }
}

impl Drop for ParserPermit {
    fn drop(&mut self) {
        self.shares.release_permit(&self.tenant);
        self.shares.serve_waiting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    /// A permit that is granted at once.
    fn now(shares: &Arc<FairShare>, name: &str) -> Option<ParserPermit> {
        use futures::FutureExt;
        FairShare::acquire_permit(shares, &tenant(name)).now_or_never()?.ok()
    }

    fn waiting(shares: &Arc<FairShare>, name: &str) -> tokio::task::JoinHandle<(String, ParserPermit)> {
        let (shares, name) = (shares.clone(), name.to_owned());
        tokio::spawn(async move {
            let turn = FairShare::acquire_permit(&shares, &tenant(&name)).await.unwrap();
            (name, turn)
        })
    }

    async fn queued(shares: &Arc<FairShare>, most: usize) {
        while shares.lock_state().waiting.len() < most {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_tenant_holds_half_and_one_in_any_case() {
        for (parsers, share) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)] {
            let shares = Arc::new(FairShare::new(parsers, 0));
            let own: Vec<ParserPermit> = std::iter::from_fn(|| now(&shares, "a")).collect();
            assert_eq!(own.len(), share, "of {parsers}");
            let others: Vec<ParserPermit> = ["b", "c"].iter().filter_map(|name| now(&shares, name)).collect();
            assert_eq!(others.len(), (parsers - share).min(2), "of {parsers}");
            drop((own, others));
            assert_eq!(shares.lock_state().free, parsers);
            assert!(shares.lock_state().held.is_empty());
        }
    }

    #[tokio::test]
    async fn who_holds_least_comes_first_and_then_who_waits_longest() {
        let shares = Arc::new(FairShare::new(4, 10));
        let mut held = vec![now(&shares, "a").unwrap(), now(&shares, "a").unwrap()];
        held.extend([now(&shares, "b").unwrap(), now(&shares, "b").unwrap()]);
        let mut waiting_ones = Vec::new();
        for (place, name) in ["a", "b", "b", "c"].iter().enumerate() {
            waiting_ones.push(waiting(&shares, name));
            queued(&shares, place + 1).await;
        }
        // Each time one of those held longest ends: c holds none, then a holds none, then only b waits.
        let mut order = Vec::new();
        for _ in 0..4 {
            drop(held.remove(0));
            let (ended, _, rest) = futures::future::select_all(waiting_ones).await;
            let (name, turn) = ended.unwrap();
            order.push(name);
            held.push(turn);
            waiting_ones = rest;
            if waiting_ones.is_empty() {
                break;
            }
        }
        assert_eq!(order, ["c", "a", "b", "b"]);
    }

    #[tokio::test]
    async fn too_many_are_refused_and_who_leaves_is_forgotten() {
        let shares = Arc::new(FairShare::new(2, 1));
        let first = now(&shares, "a").unwrap();
        let left = waiting(&shares, "a");
        queued(&shares, 1).await;
        assert_eq!(FairShare::acquire_permit(&shares, &tenant("a")).await.err(), Some(1));
        let other = FairShare::acquire_permit(&shares, &tenant("b")).await.unwrap();
        left.abort();
        assert!(left.await.is_err());
        let next = waiting(&shares, "a");
        queued(&shares, 1).await;
        drop(first);
        let (_, turn) = next.await.unwrap();
        drop((turn, other));
        assert_eq!(shares.lock_state().free, 2);
    }
}

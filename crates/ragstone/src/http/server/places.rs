//! Connection slots, shared fairly among client addresses.
//!
//! A connection is *idle* while the server has no complete request head from it: before the first request, within a
//! head, and between requests. Closing it then loses no work, so an idle connection is closed if its slot is needed:
//! the oldest of the same address if the address has used up its share, else the oldest of the address with most
//! connections. A connection with a request in progress is never closed for another one.
//!
//! Invariant: no address except a trusted proxy holds more than its share of the slots; while any connection is idle, a
//! new one gets a slot.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::ConnectionLimits;
use crate::http::TrustedProxies;
use crate::http::address::ClientNetwork;
use crate::http::limits::shares::share_limit;

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotError {
    /// All connections of the address are busy.
    Share,
    /// All connections are busy.
    All,
}

/// The connection slots of a server.
pub(super) struct ConnectionSlots {
    most: usize,
    share: usize,
    proxies: Arc<TrustedProxies>,
    state: Mutex<ConnectionSlotsState>,
    /// Notified when a slot may have become free.
    freed: Notify,
}

#[derive(Default)]
struct ConnectionSlotsState {
    open: usize,
    networks: HashMap<ClientNetwork, NetworkConnections>,
    /// Counter that orders the moments at which connections became idle.
    moment: u64,
}

/// The connections of one client network.
#[derive(Default)]
struct NetworkConnections {
    open: usize,
    /// Idle connections by the moment at which they became idle; cancelling the token closes the connection.
    waiting: BTreeMap<u64, CancellationToken>,
}

/// The slot of one connection; dropping it frees it.
pub(super) struct ConnectionSlot {
    places: Arc<ConnectionSlots>,
    network: ClientNetwork,
    /// Cancelled when the slot was given to another connection.
    taken_away: CancellationToken,
    /// The moment at which the connection became idle; `None` while it is busy.
    waiting: Mutex<Option<u64>>,
}

impl ConnectionSlots {
    pub fn new(limits: &ConnectionLimits) -> Self {
        Self {
            most: limits.connections,
            share: share_limit(limits.connections, limits.address_connections),
            proxies: limits.trusted_proxies.clone(),
            state: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Returns when a slot is free or an idle connection can be closed for one.
    pub async fn wait_for_room(&self) {
        loop {
            let freed = self.freed.notified();
            if self.lock_state().has_room(self.most) {
                return;
            }
            freed.await;
        }
    }

    /// Takes a slot for a connection from `address`, if need be by closing an idle connection.
    pub fn acquire_slot(self: &Arc<Self>, address: IpAddr) -> Result<Arc<ConnectionSlot>, SlotError> {
        let network = ClientNetwork::from_address(address);
        let mut state = self.lock_state();
        let own = state.networks.get(&network).map_or(0, |own| own.open);
        let is_shared = self.share < self.most && !self.proxies.contains(address);
        if is_shared && own >= self.share && !state.end_oldest_in(&network) {
            return Err(SlotError::Share);
        }
        if state.open >= self.most && !state.end_oldest() {
            return Err(SlotError::All);
        }
        state.open += 1;
        let moment = state.next_moment();
        let taken_away = CancellationToken::new();
        let own = state.networks.entry(network).or_default();
        own.open += 1;
        own.waiting.insert(moment, taken_away.clone());
        Ok(Arc::new(ConnectionSlot {
            places: self.clone(),
            network,
            taken_away,
            waiting: Mutex::new(Some(moment)),
        }))
    }

    /// Maximum number of connections of one address.
    pub fn address_share(&self) -> usize {
        self.share
    }

    fn lock_state(&self) -> MutexGuard<'_, ConnectionSlotsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlotsState {
    fn has_room(&self, most: usize) -> bool {
        self.open < most || self.networks.values().any(|own| !own.waiting.is_empty())
    }

    fn next_moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Closes the longest idle connection of the address with most connections; false if none is idle.
    fn end_oldest(&mut self) -> bool {
        let waiting = self.networks.iter().filter(|(_, own)| !own.waiting.is_empty());
        let most = waiting.max_by_key(|(_, own)| own.open).map(|(network, _)| *network);
        most.is_some_and(|network| self.end_oldest_in(&network))
    }

    /// Closes the longest idle connection of one network; false if none is idle.
    fn end_oldest_in(&mut self, network: &ClientNetwork) -> bool {
        let Some(own) = self.networks.get_mut(network) else {
            return false;
        };
        let Some((_, taken_away)) = own.waiting.pop_first() else {
            return false;
        };
        taken_away.cancel();
        self.remove_connection(network);
        true
    }

    fn remove_connection(&mut self, network: &ClientNetwork) {
        self.open -= 1;
        if let Some(own) = self.networks.get_mut(network) {
            own.open -= 1;
            if own.open == 0 {
                self.networks.remove(network);
            }
        }
    }
}

impl ConnectionSlot {
    /// Returns when the slot was given to another connection.
    pub async fn wait_until_revoked(&self) {
        self.taken_away.cancelled().await;
    }

    /// Marks the connection busy after a complete request head. False if its slot was already given away.
    pub fn begin_request(&self) -> bool {
        let mut state = self.places.lock_state();
        let moment = self.lock_waiting().take();
        if let (Some(moment), Some(own)) = (moment, state.networks.get_mut(&self.network)) {
            own.waiting.remove(&moment);
        }
        !self.taken_away.is_cancelled()
    }

    /// Marks the connection idle after its response was sent.
    pub fn end_request(&self) {
        let mut state = self.places.lock_state();
        if self.taken_away.is_cancelled() {
            return;
        }
        let moment = state.next_moment();
        if let Some(own) = state.networks.get_mut(&self.network) {
            own.waiting.insert(moment, self.taken_away.clone());
            *self.lock_waiting() = Some(moment);
        }
        drop(state);
        self.places.freed.notify_one();
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Option<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.places.lock_state();
        // The slot counts for the connection that took it.
        if self.taken_away.is_cancelled() {
            return;
        }
        let moment = self.lock_waiting().take();
        if let (Some(moment), Some(own)) = (moment, state.networks.get_mut(&self.network)) {
            own.waiting.remove(&moment);
        }
        state.remove_connection(&self.network);
        drop(state);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, share: usize, proxies: &[&str]) -> Arc<ConnectionSlots> {
        let proxies: Vec<String> = proxies.iter().map(|text| (*text).to_owned()).collect();
        Arc::new(ConnectionSlots {
            most,
            share: share_limit(most, share),
            proxies: Arc::new(TrustedProxies::new(&proxies).unwrap()),
            state: Mutex::default(),
            freed: Notify::new(),
        })
    }

    fn from(places: &Arc<ConnectionSlots>, last: u8) -> Option<Arc<ConnectionSlot>> {
        places.acquire_slot([192, 0, 2, last].into()).ok()
    }

    fn working(places: &Arc<ConnectionSlots>, last: u8) -> Option<Arc<ConnectionSlot>> {
        from(places, last).inspect(|place| assert!(place.begin_request()))
    }

    #[test]
    fn an_address_has_half_and_a_proxy_all() {
        let places = places(4, 0, &["192.0.2.9"]);
        let held = [working(&places, 1).unwrap(), working(&places, 1).unwrap()];
        assert_eq!(places.acquire_slot([192, 0, 2, 1].into()).err(), Some(SlotError::Share));
        let other = working(&places, 2).unwrap();
        drop((held, other));
        let proxied: Vec<_> = std::iter::from_fn(|| working(&places, 9)).collect();
        assert_eq!(proxied.len(), 4);
        drop(proxied);
        let state = places.lock_state();
        assert_eq!((state.open, state.networks.len()), (0, 0));
    }

    #[test]
    fn what_waits_gives_way_oldest_first_and_what_works_does_not() {
        let places = places(4, 2, &[]);
        let (first, second) = (from(&places, 1).unwrap(), from(&places, 1).unwrap());
        let third = from(&places, 1).unwrap();
        assert!(first.taken_away.is_cancelled() && !second.taken_away.is_cancelled());
        assert!(!first.begin_request(), "it came too late");
        assert!(second.begin_request());
        let fourth = from(&places, 1).unwrap();
        assert!(third.taken_away.is_cancelled());
        assert!(fourth.begin_request());
        assert!(from(&places, 1).is_none(), "both work");
        second.end_request();
        let fifth = from(&places, 1).unwrap();
        assert!(second.taken_away.is_cancelled());
        drop((first, second, third));
        assert_eq!(places.lock_state().open, 2, "who gave way counts no more");
        drop((fourth, fifth));
        assert_eq!(places.lock_state().open, 0);
    }

    #[test]
    fn where_all_is_taken_the_address_with_most_gives_way() {
        let places = places(4, 3, &[]);
        let many: Vec<_> = (0..3).map(|_| from(&places, 1).unwrap()).collect();
        let one = from(&places, 2).unwrap();
        let new = from(&places, 3).unwrap();
        assert!(many[0].taken_away.is_cancelled());
        assert!(!one.taken_away.is_cancelled());
        for place in [&many[1], &many[2], &one, &new] {
            assert!(place.begin_request());
        }
        assert_eq!(places.acquire_slot([192, 0, 2, 4].into()).err(), Some(SlotError::All));
        assert!(!places.lock_state().has_room(4));
        one.end_request();
        assert!(places.lock_state().has_room(4));
    }
}

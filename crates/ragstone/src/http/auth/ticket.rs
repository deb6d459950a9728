//! Single-use tickets for streams: an `EventSource` cannot send headers, and a key must never be in a URL.
//!
//! Invariant: no caller and no address has more than its share of the unused tickets. If the store is full, the caller
//! with most tickets loses its oldest one to a caller with fewer, so that nobody can keep others from getting a ticket.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::CallerIdentity;
use crate::http::limits::shares::SlotHolder;

/// How long an unused ticket is valid.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(60);
/// Maximum number of unused tickets.
const MAX_TICKETS: usize = 4_096;
/// Maximum number of unused tickets of one caller, and of one address.
const MAX_OWN_TICKETS: usize = MAX_TICKETS / 2;

struct IssuedTicket {
    identity: CallerIdentity,
    expires_at: Instant,
    /// The caller and the address whose shares it counts for.
    holders: Vec<SlotHolder>,
}

/// Unused tickets, by the hash of their text.
#[derive(Default)]
pub(in crate::http) struct TicketStore(Mutex<TicketStoreState>);

#[derive(Default)]
struct TicketStoreState {
    waiting: HashMap<blake3::Hash, IssuedTicket>,
    held: HashMap<SlotHolder, usize>,
}

impl TicketStore {
    /// Stores `ticket` for one use, counted for each of `holders`. Returns false if a share is used up or the store is
    /// full.
    pub fn issue_ticket(&self, ticket: &str, identity: CallerIdentity, holders: Vec<SlotHolder>) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_full_for(&holders) {
            state.remove_expired(now);
        }
        if state.exceeds_share(&holders) || !state.has_room_for(&holders) {
            return false;
        }
        for holder in &holders {
            *state.held.entry(holder.clone()).or_default() += 1;
        }
        let waiting = IssuedTicket {
            identity,
            expires_at: now + TICKET_LIFETIME,
            holders,
        };
        state.waiting.insert(blake3::hash(ticket.as_bytes()), waiting);
        true
    }

    /// Removes `ticket` and returns its owner; `None` if it is unknown, used or expired.
    pub fn redeem_ticket(&self, ticket: &str) -> Option<CallerIdentity> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.remove_ticket(&blake3::hash(ticket.as_bytes()))?;
        (waiting.expires_at > Instant::now()).then_some(waiting.identity)
    }
}

impl TicketStoreState {
    fn remove_ticket(&mut self, hash: &blake3::Hash) -> Option<IssuedTicket> {
        let waiting = self.waiting.remove(hash)?;
        for holder in &waiting.holders {
            match self.held.get(holder).map_or(0, |own| own - 1) {
                0 => drop(self.held.remove(holder)),
                left => drop(self.held.insert(holder.clone(), left)),
            }
        }
        Some(waiting)
    }

    fn ticket_count(&self, holder: &SlotHolder) -> usize {
        self.held.get(holder).copied().unwrap_or_default()
    }

    fn exceeds_share(&self, holders: &[SlotHolder]) -> bool {
        holders
            .iter()
            .any(|holder| self.ticket_count(holder) >= MAX_OWN_TICKETS)
    }

    fn is_full_for(&self, holders: &[SlotHolder]) -> bool {
        self.waiting.len() >= MAX_TICKETS || self.exceeds_share(holders)
    }

    fn remove_expired(&mut self, now: Instant) {
        let waiting = self.waiting.iter();
        let ended: Vec<_> = waiting
            .filter(|(_, waiting)| waiting.expires_at <= now)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in ended {
            self.remove_ticket(&hash);
        }
    }

    /// Whether a ticket can be stored, if need be by evicting the oldest one of the holder that has most, of the same
    /// kind.
    fn has_room_for(&mut self, holders: &[SlotHolder]) -> bool {
        if self.waiting.len() < MAX_TICKETS {
            return true;
        }
        let Some(first) = holders.first() else {
            return false;
        };
        let (own, kind) = (self.ticket_count(first), std::mem::discriminant(first));
        let alike = self
            .held
            .iter()
            .filter(|(holder, _)| std::mem::discriminant(*holder) == kind);
        let most = alike.max_by_key(|(_, held)| **held);
        let Some((most, _)) = most.filter(|(_, held)| **held > own + 1) else {
            return false;
        };
        let theirs = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.holders.contains(most));
        let oldest = theirs
            .min_by_key(|(_, waiting)| waiting.expires_at)
            .map(|(hash, _)| *hash);
        oldest.and_then(|hash| self.remove_ticket(&hash)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use ragstone_core::access::{Principal, ReaderSet, Role};
    use ragstone_core::id::TenantId;

    use super::*;

    fn caller() -> CallerIdentity {
        CallerIdentity {
            principal: Principal::verified(TenantId::default(), "u".into(), ReaderSet::new(), Role::Reader),
            credential: Default::default(),
            manages_all_tenants: false,
        }
    }

    fn named(name: &str) -> Vec<SlotHolder> {
        vec![SlotHolder::Caller((TenantId::default(), name.to_owned()))]
    }

    /// So many of `most` tickets that `name` gets.
    fn issued(tickets: &TicketStore, name: &str, most: usize) -> usize {
        let ticket = |n: &usize| tickets.issue_ticket(&format!("{name}/{n}"), caller(), named(name));
        (0..most).take_while(ticket).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_a_minute() {
        let tickets = TicketStore::default();
        assert!(tickets.issue_ticket("a", caller(), named("u")));
        assert_eq!(tickets.redeem_ticket("b"), None);
        assert_eq!(tickets.redeem_ticket("a"), Some(caller()));
        assert_eq!(tickets.redeem_ticket("a"), None);
        assert!(tickets.issue_ticket("late", caller(), named("u")));
        tokio::time::advance(TICKET_LIFETIME).await;
        assert_eq!(tickets.redeem_ticket("late"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_leaves_half_to_others_and_has_its_own_again_later() {
        let tickets = TicketStore::default();
        assert_eq!(issued(&tickets, "a", MAX_TICKETS), MAX_OWN_TICKETS);
        assert_eq!(issued(&tickets, "b", 3), 3);
        assert!(!tickets.issue_ticket("one more", caller(), named("a")));
        assert!(tickets.redeem_ticket("a/0").is_some());
        assert!(tickets.issue_ticket("one more", caller(), named("a")));
        tokio::time::advance(TICKET_LIFETIME).await;
        assert_eq!(issued(&tickets, "a", 2), 2);
        assert_eq!(tickets.0.lock().unwrap().waiting.len(), 2, "ended ones are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_who_took_all_of_them_lose_some_to_whoever_has_none() {
        let tickets = TicketStore::default();
        for name in ["a", "b"] {
            assert_eq!(issued(&tickets, name, MAX_TICKETS), MAX_OWN_TICKETS);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(issued(&tickets, "c", 10), 10);
        assert!((0..10).all(|n| tickets.redeem_ticket(&format!("c/{n}")).is_some()));
        let state = tickets.0.lock().unwrap();
        assert_eq!(state.waiting.len(), MAX_TICKETS - 10);
        let held = |name: &str| state.ticket_count(&named(name)[0]);
        assert_eq!(
            (held("a"), held("b"), held("c")),
            (MAX_OWN_TICKETS - 5, MAX_OWN_TICKETS - 5, 0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_share_too() {
        let tickets = TicketStore::default();
        let from = |name: &str| {
            let network = crate::http::address::ClientNetwork::from_address([192, 0, 2, 1].into());
            named(name)
                .into_iter()
                .chain([SlotHolder::Network(network)])
                .collect::<Vec<_>>()
        };
        let all = |n: &usize| tickets.issue_ticket(&n.to_string(), caller(), from(&format!("{}", n % 8)));
        assert_eq!((0..MAX_TICKETS).take_while(all).count(), MAX_OWN_TICKETS);
        assert!(tickets.issue_ticket("elsewhere", caller(), named("0")));
    }
}

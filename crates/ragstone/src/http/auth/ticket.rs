//! One-use tickets for streams: an `EventSource` can send no header, and no key ever stands in a URL.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Identity;

/// How long a ticket waits.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(60);
/// Most tickets that wait.
const MAX_TICKETS: usize = 4_096;

struct Waiting {
    identity: Identity,
    until: Instant,
}

/// Tickets that wait, by the hash of their text.
#[derive(Default)]
pub(in crate::http) struct Tickets(Mutex<HashMap<blake3::Hash, Waiting>>);

impl Tickets {
    /// Keeps `ticket` for its one use; false if too many wait.
    pub fn issue(&self, ticket: &str, identity: Identity) -> bool {
        let now = Instant::now();
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() >= MAX_TICKETS {
            tickets.retain(|_, waiting| waiting.until > now);
        }
        if tickets.len() >= MAX_TICKETS {
            return false;
        }
        let until = now + TICKET_LIFETIME;
        tickets.insert(blake3::hash(ticket.as_bytes()), Waiting { identity, until });
        true
    }

    /// Spends `ticket`; its owner if it was waiting.
    pub fn redeem(&self, ticket: &str) -> Option<Identity> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = tickets.remove(&blake3::hash(ticket.as_bytes()))?;
        (waiting.until > Instant::now()).then_some(waiting.identity)
    }
}

#[cfg(test)]
mod tests {
    use ragstone_core::access::{Principal, ReaderSet, Role};
    use ragstone_core::id::TenantId;

    use super::*;

    fn caller() -> Identity {
        Identity {
            principal: Principal::verified(TenantId::default(), "u".into(), ReaderSet::new(), Role::Reader),
            proof: Default::default(),
            of_all_tenants: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_a_minute() {
        let tickets = Tickets::default();
        assert!(tickets.issue("a", caller()));
        assert_eq!(tickets.redeem("b"), None);
        assert_eq!(tickets.redeem("a"), Some(caller()));
        assert_eq!(tickets.redeem("a"), None);
        assert!(tickets.issue("late", caller()));
        tokio::time::advance(TICKET_LIFETIME).await;
        assert_eq!(tickets.redeem("late"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_allowed() {
        let tickets = Tickets::default();
        assert!((0..MAX_TICKETS).all(|n| tickets.issue(&n.to_string(), caller())));
        assert!(!tickets.issue("one more", caller()));
        tokio::time::advance(TICKET_LIFETIME).await;
        assert!(tickets.issue("one more", caller()));
    }
}

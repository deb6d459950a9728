//! The local operator: whoever holds the data directory itself, and who is let in without a key.

use ragstone_core::access::Principal;
use ragstone_core::id::TenantId;

/// The principal of the command line and of callers on this machine while no key exists.
pub fn operator_principal() -> Principal {
    operator_principal_of(TenantId::default())
}

/// The same for another tenant: for the upkeep of the whole data directory, never for what a caller asks.
///
/// The one place that names the local operator; `tests/tidy.rs` pins it.
pub fn operator_principal_of(tenant: TenantId) -> Principal {
    Principal::local_operator_of(tenant)
}

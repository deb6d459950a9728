//! The local operator: anyone with access to the data directory, and callers on this machine while no key exists.

use ragstone_core::access::Principal;
use ragstone_core::id::TenantId;

/// Principal of the local operator in the default tenant.
pub fn operator_principal() -> Principal {
    operator_principal_of(TenantId::default())
}

/// Principal of the local operator in `tenant`: for maintenance of the data directory, never for a caller's request.
///
/// This is the only place that creates the local operator; `tests/tidy.rs` pins it.
pub fn operator_principal_of(tenant: TenantId) -> Principal {
    Principal::local_operator_of(tenant)
}

//! The local operator: whoever holds the data directory itself, and who is let in without a key.

use ragstone_core::access::Principal;

/// The principal of the command line and of callers on this machine while no key exists.
///
/// The one place that names the local operator; `tests/tidy.rs` pins it.
pub fn principal() -> Principal {
    Principal::local_operator()
}

//! Contract of every notifier.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{Either, select};

use crate::seam::Notifier;

type Bell = Arc<dyn Notifier>;

/// Runs the suite; `make` gives two handles to one fresh notifier, as two processes have them, after both have started
/// to listen.
pub async fn doorbell_contract<F: Future<Output = (Bell, Bell)>>(make: impl Fn() -> F) {
    let (one, other) = make().await;
    nobody_is_woken_for_nothing(&one, &other);
    a_ring_wakes(&one, &other).await;
    let (one, other) = make().await;
    a_ring_wakes(&other, &one).await;
    let (one, _other) = make().await;
    a_ring_wakes(&one, &one).await;
    assert!(
        one.wait_for_notification().now_or_never().is_none(),
        "nobody hears himself twice"
    );
    let (one, other) = make().await;
    a_ring_wakes_whoever_waits_longer(&one, &other).await;
    assert_eq!((one.connection_error(), other.connection_error()), (None, None));
}

fn nobody_is_woken_for_nothing(one: &Bell, other: &Bell) {
    assert!(one.wait_for_notification().now_or_never().is_none());
    assert!(other.wait_for_notification().now_or_never().is_none());
}

/// A notification is received, also if nobody waited when it was sent.
async fn a_ring_wakes(ringing: &Bell, listening: &Bell) {
    ringing.notify_workers();
    listening.wait_for_notification().await;
}

/// Two waiters at one handle are each woken if there are enough notifications.
async fn a_ring_wakes_whoever_waits_longer(ringing: &Bell, listening: &Bell) {
    let (first, second) = (listening.wait_for_notification(), listening.wait_for_notification());
    ringing.notify_workers();
    let left = match select(first, second).await {
        Either::Left(((), left)) | Either::Right(((), left)) => left,
    };
    ringing.notify_workers();
    left.await;
}

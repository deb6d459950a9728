//! The notifier within one process; the notifiers that reach other processes contain it.

use async_trait::async_trait;
use ragstone_core::seam::Notifier;
use tokio::sync::Notify;

/// Wakes a worker that waits in this process.
#[derive(Debug, Default)]
pub struct LocalNotifier {
    notify: Notify,
}

#[async_trait]
impl Notifier for LocalNotifier {
    fn notify_workers(&self) {
        self.notify.notify_one();
    }

    async fn wait_for_notification(&self) {
        self.notify.notified().await;
    }

    fn connection_error(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ragstone_core::seam::contract::doorbell_contract;

    use super::*;

    #[tokio::test]
    async fn the_contract_is_kept() {
        let make = || async {
            let bell: Arc<dyn Notifier> = Arc::new(LocalNotifier::default());
            (bell.clone(), bell)
        };
        doorbell_contract(make).await;
    }
}

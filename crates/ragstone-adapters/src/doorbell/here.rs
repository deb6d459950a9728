//! The doorbell of one process, and the part of every other one that is in this process.

use async_trait::async_trait;
use ragstone_core::seam::Doorbell;
use tokio::sync::Notify;

/// Wakes who waits in this process.
#[derive(Debug, Default)]
pub struct HereDoorbell {
    notify: Notify,
}

#[async_trait]
impl Doorbell for HereDoorbell {
    fn ring(&self) {
        self.notify.notify_one();
    }

    async fn wait(&self) {
        self.notify.notified().await;
    }

    fn trouble(&self) -> Option<String> {
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
            let bell: Arc<dyn Doorbell> = Arc::new(HereDoorbell::default());
            (bell.clone(), bell)
        };
        doorbell_contract(make).await;
    }
}

//! Contract of every store of daily usage.

use std::future::Future;
use std::sync::Arc;

use time::{Date, Duration};

use super::sample::tenant;
use crate::seam::usage::{DailyUsage, UsageStore};

/// Runs the suite; `make` gives a fresh, empty store each time.
pub async fn usage_contract<F: Future<Output = Arc<dyn UsageStore>>>(make: impl Fn() -> F) {
    let today = Date::from_ordinal_date(2024, 60).expect("a day");
    spending_adds_up(make().await, today).await;
    others_are_not_touched(make().await, today).await;
    old_days_do_not_matter(make().await, today).await;
}

async fn check(store: &Arc<dyn UsageStore>, caller: (&str, &str), day: Date, expected: (u64, u64)) {
    let spent = store.get_daily_usage(&tenant(caller.0), caller.1, day).await;
    let (caller, tenant) = expected;
    assert_eq!(spent.expect("an answer"), DailyUsage { caller, tenant });
}

async fn spend(store: &Arc<dyn UsageStore>, caller: (&str, &str), day: Date, tokens: u64) {
    let spent = store.add_daily_usage(&tenant(caller.0), caller.1, day, tokens).await;
    spent.expect("added");
}

async fn spending_adds_up(store: Arc<dyn UsageStore>, today: Date) {
    check(&store, ("a", "u"), today, (0, 0)).await;
    spend(&store, ("a", "u"), today, 7).await;
    spend(&store, ("a", "u"), today, 0).await;
    spend(&store, ("a", "u"), today, 5).await;
    check(&store, ("a", "u"), today, (12, 12)).await;
}

async fn others_are_not_touched(store: Arc<dyn UsageStore>, today: Date) {
    spend(&store, ("a", "u"), today, 1).await;
    spend(&store, ("a", "v"), today, 2).await;
    spend(&store, ("b", "u"), today, 4).await;
    check(&store, ("a", "u"), today, (1, 3)).await;
    check(&store, ("a", "v"), today, (2, 3)).await;
    check(&store, ("a", "w"), today, (0, 3)).await;
    check(&store, ("b", "u"), today, (4, 4)).await;
}

async fn old_days_do_not_matter(store: Arc<dyn UsageStore>, today: Date) {
    let tomorrow = today + Duration::DAY;
    spend(&store, ("a", "u"), today, 3).await;
    check(&store, ("a", "u"), tomorrow, (0, 0)).await;
    spend(&store, ("a", "u"), tomorrow, 5).await;
    spend(&store, ("a", "u"), today, 1).await;
    check(&store, ("a", "u"), today, (4, 4)).await;
    spend(&store, ("a", "u"), tomorrow + Duration::WEEK, 6).await;
    check(&store, ("a", "u"), tomorrow + Duration::WEEK, (6, 6)).await;
}

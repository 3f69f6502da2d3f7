//! Removes what is over and what was left behind, a bounded part each round.

use std::time::Duration;

use agentnet_store::blobs;

use super::writing::TOUCH;
use super::{COMMIT_DEADLINE, WRITE_DEADLINE};
use crate::app::{App, chain};

/// Objects removed by one round.
const OBJECTS: i64 = 100;
/// How long an object without a row is left alone: whatever could still write to it has ended by then, and no replica
/// takes chunks for it any more.
const GRACE: Duration = Duration::from_secs(60);
const _: () = assert!(
    GRACE.as_secs() > COMMIT_DEADLINE.as_secs()
        && GRACE.as_secs() > TOUCH.as_secs() + WRITE_DEADLINE.as_secs()
);

/// Removes objects that no row names any more; how many.
pub(crate) async fn sweep(app: &App) -> u64 {
    let listed = blobs::garbage(app.store.pool(), GRACE, OBJECTS).await;
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            app.failures.log("blobs.garbage", &chain(&error));
            return 0;
        }
    };
    let mut removed = 0;
    for object in listed {
        if let Err(error) = app.blobs.bucket.remove(&object.nuid, &object.blob_id).await {
            app.failures.log("blobs.remove", &chain(&error));
            break;
        }
        match blobs::collected(app.store.pool(), &object.nuid).await {
            Ok(()) => removed += 1,
            Err(error) => {
                app.failures.log("blobs.collected", &chain(&error));
                break;
            }
        }
    }
    removed
}

//! The loop that lets go of what was kept in memory and has grown old, though nobody comes who would notice.

use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::select;

use super::functions::Functions;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(5);

/// Looks after a server's memory until it is dropped or the database is shut down.
pub(super) struct Upkeep {
    /// Dropping it ends the loop.
    _running: oneshot::Sender<()>,
}

impl Upkeep {
    pub(super) fn start(functions: &Functions) -> Self {
        let (running, dropped) = oneshot::channel::<()>();
        let functions = functions.clone();
        let runtime = functions.database().runtime().clone();
        runtime.spawn(Box::pin(async move {
            let ended = select(dropped, functions.database().stopping());
            select(ended, run(&functions).boxed()).await;
        }));
        Self { _running: running }
    }
}

async fn run(functions: &Functions) {
    loop {
        functions.database().runtime().sleep(PERIOD).await;
        functions.expire_results();
        functions.engine().rest();
        functions.database().trim();
    }
}

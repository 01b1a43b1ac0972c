//! Being told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::problem::Problem;

/// The signals that end a server: Ctrl-C, SIGTERM, and the terminal's end.
pub struct StopSignals(Vec<Signal>);

impl StopSignals {
    /// From now on these signals do not kill the process.
    pub fn listen() -> Result<Self, Problem> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let signals: std::io::Result<Vec<_>> = kinds.into_iter().map(signal).collect();
        let signals = signals
            .map_err(|error| Problem::new(format!("signals cannot be received: {error}")))?;
        Ok(Self(signals))
    }

    /// Completes at the next of them.
    pub async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            // All are polled, so that each can wake.
            let mut ready = false;
            for signal in &mut self.0 {
                ready |= signal.poll_recv(cx).is_ready();
            }
            match ready {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }

    /// Whoever asks a second time does not want to wait.
    pub fn exit_at_next(mut self) {
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(130);
        });
    }
}

//! The app's own Convex CLI: it bundles and deploys the functions, and again whenever they change.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::child;
use crate::output::say;

/// First and longest pause before the CLI is started again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A run of this length was a good one: the next pause is the first one again.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// How long the CLI may take to end.
const END_TIME: Duration = Duration::from_secs(5);

/// How to run the CLI.
pub struct ConvexCli {
    pub program: PathBuf,
    pub folder: PathBuf,
    /// Whether it takes the deployment from environment variables.
    pub knows_variables: bool,
    /// The deployment.
    pub url: String,
    pub admin_key: String,
}

impl ConvexCli {
    /// Runs `convex dev` until `stop` completes. If it ends by itself, starts it again.
    pub async fn keep_running(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut pause = PAUSE.0;
        loop {
            let begun = Instant::now();
            let ended = match child::spawn(&mut self.command(), "convex") {
                Ok(mut child) => tokio::select! {
                    status = child.wait() => describe(status),
                    () = &mut stop => return end(child).await,
                },
                Err(error) => format!("cannot be started: {error}"),
            };
            if begun.elapsed() >= GOOD_RUN {
                pause = PAUSE.0;
            }
            say(format!(
                "`convex dev` {ended}. Starting it again in {} s.",
                pause.as_secs()
            ));
            tokio::select! {
                () = sleep(pause) => {}
                () = &mut stop => return,
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("dev")
            .current_dir(&self.folder)
            .env("CONVEX_SELF_HOSTED_URL", &self.url)
            .env("CONVEX_SELF_HOSTED_ADMIN_KEY", &self.admin_key)
            // They would name another deployment.
            .env_remove("CONVEX_DEPLOYMENT")
            .env_remove("CONVEX_DEPLOY_KEY")
            // No questions, no reports to others.
            .env("CI", "1");
        if !self.knows_variables {
            command.args(["--url", &self.url, "--admin-key", &self.admin_key]);
        }
        command
    }
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended ({status})"),
        Err(error) => format!("cannot be watched: {error}"),
    }
}

/// Asks the CLI and its helpers to end, and makes them if they do not.
async fn end(mut child: Child) {
    // The id is gone once the child has been waited for.
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(group) = id.and_then(Pid::from_raw) else {
        return;
    };
    // Errors mean that all of the group are gone.
    let _ = kill_process_group(group, Signal::TERM);
    drop(timeout(END_TIME, child.wait()).await);
    let _ = kill_process_group(group, Signal::KILL);
    drop(child.wait().await);
}

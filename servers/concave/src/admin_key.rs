//! `concave admin-key`.

use std::time::SystemTime;

use concave_core::Timestamp;
use concave_core::limits::Limits;

use crate::cli::AdminKeyOptions;
use crate::instance::{Instance, InstanceSecret};
use crate::problem::Problem;

pub fn run(options: &AdminKeyOptions) -> Result<(), Problem> {
    let secret = options.instance_secret.clone();
    let secret = secret.unwrap_or(InstanceSecret::WELL_KNOWN);
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|_| Problem::new("the clock of this machine stands before 1970"))?;
    let now = Timestamp(since_epoch.as_nanos() as u64);
    let instance = Instance {
        name: options.instance_name.clone(),
        secret,
    };
    // Addresses do not matter for keys.
    let keys = instance
        .config(String::new(), String::new(), false, Limits::default())
        .admin_keys();
    println!("{}", keys.issue(now, options.read_only));
    Ok(())
}

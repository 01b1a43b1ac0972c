//! Worlds in which the whole server side runs: functions, sessions, pushes; with clients over a network.
//!
//! * [`server`]: lives of a `Backend` on one disk, its connections served by the driver of production;
//! * [`world`]: clients, disturbances, pushes; then healing; then the [`judge`](mod@judge);
//! * [`rest`]: what the server keeps in memory when its clients have left;
//! * [`judge`](mod@judge): replays the log on the model of the [app](crate::app) and compares all that clients saw;
//!   [`schedule`] follows the scheduled functions, [`pages`] the pages.

pub mod judge;
pub mod pages;
pub mod rest;
pub mod schedule;
pub mod server;
pub mod settings;
pub mod world;

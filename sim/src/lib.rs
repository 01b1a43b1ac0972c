//! Simulated worlds: the drivers of production, under faults, checked exactly.
//!
//! [`world::run`] turns a seed into a world: a server (the core's `Database` over [`storage::SimPersistence`]) that
//! crashes and restarts in mid flight, a disk that forgets what was not synced, clocks that jump, and clients that
//! run random transactions with known meaning ([`workload`]). Everything that a transaction read and wrote is kept
//! in a [`history`], and afterwards [`oracle::check`] replays the storage's log in timestamp order on a trivial
//! [`model`] and compares every row that was ever seen; what retention deletes is kept for it in an [`archive`]. In
//! [`sessions`] the whole server side runs, and its clients speak the sync protocol over a [`network`] that loses,
//! delays and repeats packets.
//!
//! Below the worlds there is [`core_loop`]: the core alone, without tasks, for far more transactions.
//!
//! # Why an executor of our own
//!
//! The drivers need four things of their runtime: the time, sleeping, spawning, entropy
//! (`concave_core::runtime::Runtime`). [`executor`] gives them in three hundred lines. A simulator that stands in
//! for Tokio, such as madsim, replaces the C library's clock and entropy by a compiler setting that has to hold for
//! the whole build: a workspace and a target folder of its own, undone by any `RUSTFLAGS` in the environment. It
//! also makes the order of hash maps repeatable, and so hides from us what the core promises not to have: with
//! ordinary hash maps and clocks underneath, any use of them shows as a trace that differs between two runs of one
//! seed. This crate is an ordinary member of the workspace.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod app;
pub mod archive;
pub mod campaign;
pub mod client;
pub mod core_loop;
pub mod crash_points;
pub mod disk;
pub mod elle;
pub mod executor;
pub mod history;
pub mod model;
pub mod network;
pub mod oracle;
pub mod report;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod shrink;
pub mod sqlite;
pub mod storage;
pub mod workload;
pub mod world;

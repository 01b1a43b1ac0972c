//! The query machines over storage in memory, compared with filtering and sorting a list.
//!
//! [`world`] is a database without drivers, [`model`] makes random documents, writes and queries and knows the right
//! answers; the files beside them hold the tests.

mod hostile;
mod iteration;
mod model;
mod page;
mod plan;
mod stream;
mod world;

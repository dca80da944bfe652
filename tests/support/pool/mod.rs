//! Pools for the exporter to poll, and a reader of their API.
//!
//! The pool of the benchmarks is another one (`benches/pool`): it costs next to nothing, and its answers stay the same from
//! version to version.

pub mod faulty;
pub mod mock;
pub mod reader;
pub mod simulated;

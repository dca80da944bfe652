//! The pool's faults against the program itself.
//!
//! | module | what it holds |
//! |---|---|
//! | `matrix` | each fault at each endpoint, watched from outside |
//! | `canary` | finds a key in whatever the program lets out |
//! | `outage` | the return of a pool that was away, with 200 accounts |
//! | `docs` | the table in `docs/failures.md` |
//!
//! `program` is the exporter as a process. The faults are in `support`: its catalogue has them as data, and its faulty
//! pool shows them.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "the table and the figures are to be read")]

mod canary;
mod docs;
mod matrix;
mod outage;
mod program;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

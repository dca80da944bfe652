//! The pool's faults against the program itself.
//!
//! | module | what it holds |
//! |---|---|
//! | `catalogue` | every fault, and what is to be seen of it, as data |
//! | `matrix` | each fault at each endpoint, watched from outside |
//! | `canary` | finds a key in whatever the program lets out |
//! | `outage` | the return of a pool that was away, with 200 accounts |
//! | `docs` | the table in `docs/failures.md` |
//!
//! `pool` is the pool that misbehaves, `certificates` are what it shows, `noon` sets its clock, `program` is the
//! exporter as a process, and `parser` reads expositions, strictly and without the code under test.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "the table and the figures are to be read")]

mod canary;
mod catalogue;
mod certificates;
mod docs;
mod matrix;
mod noon;
mod outage;
#[path = "../it/parser.rs"]
mod parser;
mod pool;
mod program;

//! The process itself: its figures, from Linux' /proc (elsewhere there are none), and what it leaves behind when it dies.

/// Figures of this process; `None` where the system does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// When it started, in seconds since 1970.
    pub start_time_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_memory_bytes: Option<u64>,
    /// Virtual memory, in bytes.
    pub virtual_memory_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many file descriptors may be open.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Processor time used, in user and kernel mode, in seconds.
    pub cpu_seconds: Option<f64>,
}

/// From now on the process leaves no core dump, which would hold the keys.
pub fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // One byte and not none: Linux takes no notice of 0 where dumps are piped to a program, but of 1 it does.
    if setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) }).is_err() {
        // The hard limit is 0 already, and cannot be raised. This helps there, too, but keeps others from looking into
        // /proc, so that it is not the first choice. It cannot fail with this value.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// From now on the process may have more files open than the least that systems begin with, if it may raise that.
pub fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 4096;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_some_and(|current| current < allowed) {
        // What cannot be raised stays; the connections that are taken fit in.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    }
}

impl Figures {
    /// The figures now.
    #[cfg(target_os = "linux")]
    pub fn read() -> Self {
        use procfs::{WithCurrentSystemInfo as _, process::Process};
        use rustix::{
            process::{Resource, getrlimit},
            time::{ClockId, clock_gettime},
        };

        let Ok(process) = Process::myself() else { return Self::default() };
        let Ok(stat) = process.stat() else { return Self::default() };
        let ticks = procfs::ticks_per_second() as f64;
        // As /proc/stat has it, in whole seconds; but that file is the longest of all, with a count of each interrupt.
        let [now, up] = [ClockId::Realtime, ClockId::Boottime].map(clock_gettime);
        let booted = now.tv_sec - up.tv_sec - i64::from(now.tv_nsec < up.tv_nsec);
        Self {
            start_time_seconds: Some(booted as f64 + stat.starttime as f64 / ticks),
            resident_memory_bytes: Some(stat.rss_bytes().get()),
            virtual_memory_bytes: Some(stat.vsize),
            open_fds: process.fd_count().ok().map(|count| count as u64),
            max_fds: getrlimit(Resource::Nofile).current,
            threads: u64::try_from(stat.num_threads).ok(),
            cpu_seconds: Some((stat.utime + stat.stime) as f64 / ticks),
        }
    }

    /// The figures now.
    #[cfg(not(target_os = "linux"))]
    pub fn read() -> Self {
        Self::default()
    }
}

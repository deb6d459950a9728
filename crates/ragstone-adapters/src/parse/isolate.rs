//! Rights that a parser process gives up before it reads a document.
//!
//! Everything here works without privileges; what the kernel refuses is reported and not fatal.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use serde::{Deserialize, Serialize};

/// Most open files of a parser process: its pipes and one document.
const MAX_OPEN_FILES: u64 = 16;

/// How a parser process is isolated from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIsolation {
    /// The process has its own network namespace, without interfaces.
    pub network_namespace: bool,
    /// The kernel refuses sockets and new programs to the process (seccomp).
    pub system_call_filter: bool,
}

#[cfg(target_env = "gnu")]
type RlimitResource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type RlimitResource = libc::c_int;

/// Gives up the rights that no parser needs. Must run before the process has a second thread.
pub(super) fn enter_isolation() -> ProcessIsolation {
    set_limit(libc::RLIMIT_CORE, 0, 0);
    set_limit(libc::RLIMIT_FSIZE, 0, 0);
    set_limit(libc::RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES);
    isolate_network()
}

/// Limits the next document: the address space of the process, and its processor time from now on.
pub(super) fn bound_document(memory_bytes: u64, cpu_seconds: u64) {
    set_limit(libc::RLIMIT_AS, memory_bytes, memory_bytes);
    // Only the soft limit is set; the signal that it raises ends the process, and the next document can raise it again.
    set_limit(
        libc::RLIMIT_CPU,
        used_cpu_seconds() + cpu_seconds.max(1),
        libc::RLIM_INFINITY,
    );
}

/// Takes over standard output; anything else in this process that writes to it reaches standard error instead.
pub(super) fn take_stdout() -> io::Result<File> {
    // SAFETY: `dup` has no preconditions; a result that is not negative is a descriptor without another owner.
    let own = unsafe { libc::dup(libc::STDOUT_FILENO) };
    if own < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are open for the life of the process.
    unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) };
    // SAFETY: `own` was just created and has no other owner.
    Ok(unsafe { File::from_raw_fd(own) })
}

/// Blocks until the other end of standard input's pipe is closed, which means that the server is gone.
///
/// A parent-death signal would not do: it is sent when the *thread* that started the process ends.
pub(super) fn wait_for_hangup() {
    let mut watched = libc::pollfd {
        fd: io::stdin().as_raw_fd(),
        events: 0,
        revents: 0,
    };
    loop {
        // SAFETY: `watched` is one valid entry and outlives the call.
        let ready = unsafe { libc::poll(&raw mut watched, 1, -1) };
        let interrupted = ready < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        if !interrupted {
            return;
        }
    }
}

fn set_limit(resource: RlimitResource, soft: u64, hard: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` is initialised and outlives the call. If the kernel refuses, the old limit stays, and the
    // server's wall clock still bounds the document.
    unsafe { libc::setrlimit(resource, &raw const limit) };
}

/// Processor time used so far, rounded to seconds.
fn used_cpu_seconds() -> u64 {
    // SAFETY: all zeros is a valid `rusage`, and the call writes only into it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| {
        std::time::Duration::from_secs(time.tv_sec.unsigned_abs())
            + std::time::Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or_default())
    };
    let used = time(usage.ru_utime) + time(usage.ru_stime);
    used.as_secs_f64().round() as u64
}

#[cfg(not(target_os = "linux"))]
fn isolate_network() -> ProcessIsolation {
    ProcessIsolation {
        network_namespace: false,
        system_call_filter: false,
    }
}

#[cfg(target_os = "linux")]
fn isolate_network() -> ProcessIsolation {
    // SAFETY: none of these calls reads or writes memory of this process.
    let network_namespace = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        // In a user namespace root loses its right to read other users' files, so it is used only where needed.
        libc::unshare(libc::CLONE_NEWNET) == 0 || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) == 0
    };
    ProcessIsolation {
        network_namespace,
        system_call_filter: filter::install_filter(),
    }
}

#[cfg(target_os = "linux")]
mod filter {
    //! A seccomp filter that refuses sockets, new programs and the ways around these refusals.

    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JUMP, BPF_K, BPF_LD, BPF_RET, BPF_STMT, BPF_W, sock_filter};

    /// `AUDIT_ARCH_*` of linux/audit.h; `None` if there is no filter for the architecture.
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    const ARCHITECTURE: Option<u32> = None;

    /// Byte offsets in `struct seccomp_data`.
    const NUMBER_AT: u32 = 0;
    const ARCHITECTURE_AT: u32 = 4;
    /// First number of the system calls of the x32 interface.
    const X32: u32 = 0x4000_0000;

    const REFUSED: [libc::c_long; 6] = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_io_uring_setup,
    ];

    /// Installs the filter; returns whether the kernel accepted it.
    pub(super) fn install_filter() -> bool {
        let Some(architecture) = ARCHITECTURE else {
            return false;
        };
        let mut program = build_program(architecture);
        let filter = libc::sock_fprog {
            len: program.len() as libc::c_ushort,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: `filter` points to `len` instructions that outlive the call; the kernel copies them.
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0 }
    }

    fn build_program(architecture: u32) -> Vec<sock_filter> {
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        let load = |at: u32| bpf_statement(BPF_LD | BPF_W | BPF_ABS, at);
        let jump = |test: u32, value: u32, then: u8, or: u8| {
            // SAFETY: these build a value and touch no memory.
            unsafe { BPF_JUMP((BPF_JMP | test | BPF_K) as u16, value, then, or) }
        };
        // Other interfaces of the same kernel number their calls differently: refuse them all.
        let mut program = vec![
            load(ARCHITECTURE_AT),
            jump(BPF_JEQ, architecture, 1, 0),
            bpf_statement(BPF_RET | BPF_K, refuse),
            load(NUMBER_AT),
            jump(BPF_JGE, X32, 0, 1),
            bpf_statement(BPF_RET | BPF_K, refuse),
        ];
        for number in REFUSED {
            program.push(jump(BPF_JEQ, number as u32, 0, 1));
            program.push(bpf_statement(BPF_RET | BPF_K, refuse));
        }
        program.push(bpf_statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
        program
    }

    fn bpf_statement(code: u32, value: u32) -> sock_filter {
        // SAFETY: this builds a value and touches no memory.
        unsafe { BPF_STMT(code as u16, value) }
    }
}

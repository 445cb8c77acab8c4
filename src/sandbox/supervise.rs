//! Watches a child from outside: reads its streams, keeps its time limit, learns how it ended.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::Capture;
use super::enter::{Child, ChildFds, Message, Phase, Prepared, in_memory, spawn};
use super::{Outcome, Stream};

/// What became of a child.
pub(super) enum End {
    /// The program ran.
    Ended(Outcome),
    /// It took longer than it may; all it wrote until then.
    TimeLimit(String),
    /// `clone` said no.
    NotCloned(io::Error),
    /// The child failed before the program ran.
    NotEntered(Message),
    /// Killed from outside: the kernel's out-of-memory killer, or a person.
    Lost(String),
}

/// Runs `prepared` to its end. The error is of this side: pipes and memory.
pub(super) fn watch(
    prepared: Prepared,
    stdin: &[u8],
    time_limit: Duration,
    on_line: &mut dyn FnMut(Stream, &str),
) -> io::Result<(Prepared, End)> {
    let stdin = in_memory(stdin)?;
    let (stdout, child_stdout) = io::pipe()?;
    let (stderr, child_stderr) = io::pipe()?;
    let (status, child_status) = io::pipe()?;
    let (child_life, _life) = io::pipe()?;
    let (prepared, child) = spawn(
        prepared,
        &ChildFds {
            stdin: stdin.as_fd(),
            stdout: child_stdout.as_fd(),
            stderr: child_stderr.as_fd(),
            status: child_status.as_fd(),
            life: child_life.as_fd(),
        },
    );
    drop((child_stdout, child_stderr, child_status, child_life));
    let child = match child {
        Ok(child) => child,
        Err(error) => return Ok((prepared, End::NotCloned(error))),
    };
    let pipes = [stdout.into(), stderr.into(), status.into()];
    Ok((prepared, follow(child, pipes, time_limit, on_line)?))
}

fn follow(
    child: Child,
    pipes: [OwnedFd; 3],
    time_limit: Duration,
    on_line: &mut dyn FnMut(Stream, &str),
) -> io::Result<End> {
    let mut capture = Capture::new(on_line);
    let mut message = Vec::new();
    let deadline = Instant::now().checked_add(time_limit);
    let mut open: Vec<(usize, io::PipeReader)> = pipes.into_iter().map(io::PipeReader::from).enumerate().collect();
    let mut buffer = vec![0; 64 * 1024];
    while !open.is_empty() {
        let ready = wait_for(&open, deadline)?;
        if ready.is_empty() {
            child.kill();
            drop(open);
            let _ = child.wait();
            return Ok(End::TimeLimit(capture.finish()));
        }
        let mut closed = Vec::new();
        for place in ready {
            let Some((pipe, reader)) = open.get_mut(place) else { continue };
            let size = reader.read(&mut buffer)?;
            let bytes = buffer.get(..size).unwrap_or_default();
            match *pipe {
                pipe if size == 0 => closed.push(pipe),
                0 => capture.push(Stream::Stdout, bytes),
                1 => capture.push(Stream::Stderr, bytes),
                _ => message.extend_from_slice(bytes),
            }
        }
        open.retain(|(pipe, _)| !closed.contains(pipe));
    }
    let usage = child.wait()?;
    let output = capture.finish();
    let Some(message) = Message::read(&message) else { return Ok(End::Lost(output)) };
    if message.phase != Phase::Ended {
        return Ok(End::NotEntered(message));
    }
    let status = ExitStatus::from_raw(message.value);
    let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    Ok(End::Ended(Outcome {
        status,
        output,
        cpu: duration(usage.ru_utime.tv_sec, usage.ru_utime.tv_usec)
            + duration(usage.ru_stime.tv_sec, usage.ru_stime.tv_usec),
        peak_memory: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
    }))
}

/// Places in `open` of what can be read; none once the deadline is over.
fn wait_for(open: &[(usize, io::PipeReader)], deadline: Option<Instant>) -> io::Result<Vec<usize>> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(Vec::new());
        }
        // Long waits are cut, because poll counts milliseconds in 32 bits.
        let left = left.unwrap_or(Duration::MAX).min(Duration::from_secs(3600)).as_millis().max(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|(_, reader)| PollFd::new(reader.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) | Ok(0) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {
                let ready = |(place, fd): (usize, &PollFd<'_>)| fd.any().unwrap_or(true).then_some(place);
                return Ok(fds.iter().enumerate().filter_map(ready).collect());
            }
        }
    }
}

fn duration(seconds: i64, microseconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        + Duration::from_micros(u64::try_from(microseconds).unwrap_or(0))
}

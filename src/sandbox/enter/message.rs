//! What the child tells.

use nix::libc::c_int;

/// Which part of the child's work failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::sandbox) enum Phase {
    Streams = 1,
    Maps = 2,
    Root = 3,
    OpenSource = 4,
    MakeStep = 5,
    Seal = 6,
    Network = 7,
    Hostname = 8,
    Fork = 9,
    Identity = 10,
    Limits = 11,
    Cwd = 12,
    Execute = 13,
    /// Not a failure: the program ended, and `errno` is its wait status.
    Ended = 14,
}

impl Phase {
    const ALL: [Self; 14] = [
        Self::Streams,
        Self::Maps,
        Self::Root,
        Self::OpenSource,
        Self::MakeStep,
        Self::Seal,
        Self::Network,
        Self::Hostname,
        Self::Fork,
        Self::Identity,
        Self::Limits,
        Self::Cwd,
        Self::Execute,
        Self::Ended,
    ];

    /// What it does, for messages.
    pub(in crate::sandbox) fn what(self) -> &'static str {
        match self {
            Self::Streams => "passing on its streams",
            Self::Maps => "mapping its user and group",
            Self::Root => "mounting its root",
            Self::OpenSource => "opening a folder for it",
            Self::MakeStep => "making a name in its root",
            Self::Seal => "making its root read-only",
            Self::Network => "bringing up its loopback interface",
            Self::Hostname => "setting its host name",
            Self::Fork => "starting its first process",
            Self::Identity => "taking its user and group",
            Self::Limits => "setting its limits",
            Self::Cwd => "entering its working folder",
            Self::Execute | Self::Ended => "executing its program",
        }
    }
}

/// What the child tells: a failed phase, or the end of the program.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct Message {
    pub(in crate::sandbox) phase: Phase,
    /// Index of the step, for [`Phase::OpenSource`] and [`Phase::MakeStep`].
    pub(in crate::sandbox) step: usize,
    /// `errno`, or the wait status for [`Phase::Ended`].
    pub(in crate::sandbox) value: c_int,
}

impl Message {
    /// Size on the pipe.
    pub(in crate::sandbox) const SIZE: usize = 12;

    pub(super) fn bytes(phase: Phase, step: u32, value: c_int) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&(phase as u32).to_ne_bytes());
        bytes[4..8].copy_from_slice(&step.to_ne_bytes());
        bytes[8..].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    /// Reads what the child wrote; `None` if it is not a message.
    pub(in crate::sandbox) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
        let code = u32::from_ne_bytes(word(0)?);
        let phase = Phase::ALL.into_iter().find(|phase| *phase as u32 == code)?;
        let step = usize::try_from(u32::from_ne_bytes(word(4)?)).ok()?;
        Some(Self { phase, step, value: c_int::from_ne_bytes(word(8)?) })
    }
}

/// A failure in the child; `step` as in [`Message`].
pub(super) struct Failed {
    pub(super) phase: Phase,
    pub(super) step: u32,
    pub(super) errno: c_int,
}

pub(super) type Done = Result<(), Failed>;

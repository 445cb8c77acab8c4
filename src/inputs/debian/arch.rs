//! What Debian calls machines, and where their libraries and their program interpreter lie.

use crate::request::Arch;

/// One machine as Debian knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name of the port, as in `Architecture: amd64`.
    pub name: &'static str,
    /// The multiarch triplet, the folder of its libraries below `/usr/lib`.
    pub triplet: &'static str,
    /// Program interpreter, fixed by the psABI.
    pub interpreter: &'static str,
}

/// The port for a machine.
pub fn port(arch: Arch) -> Port {
    let (name, triplet, interpreter) = match arch {
        Arch::X86_64 => ("amd64", "x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2"),
        Arch::Aarch64 => ("arm64", "aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1"),
        Arch::I686 => ("i386", "i386-linux-gnu", "/lib/ld-linux.so.2"),
        Arch::Armv7l => ("armhf", "arm-linux-gnueabihf", "/lib/ld-linux-armhf.so.3"),
        Arch::Ppc64le => ("ppc64el", "powerpc64le-linux-gnu", "/lib64/ld64.so.2"),
        Arch::S390x => ("s390x", "s390x-linux-gnu", "/lib/ld64.so.1"),
        Arch::Riscv64 => ("riscv64", "riscv64-linux-gnu", "/lib/ld-linux-riscv64-lp64d.so.1"),
    };
    Port { name, triplet, interpreter }
}

//! Which platform an ELF header is for, and what the others are called.

use object::elf;

use super::{elf::FloatAbi, tables::Class};
use crate::base::Platform;

/// The platform of a little-endian ELF header, and for 32-bit ARM how it passes floating-point numbers if it says so;
/// otherwise what the machine is called.
pub(super) fn platform(class: Class, machine: u16, flags: u32) -> Result<(Platform, Option<FloatAbi>), String> {
    match (elf::Machine(machine), class) {
        (elf::EM_X86_64, Class::Elf64) => Ok((Platform::Amd64, None)),
        (elf::EM_AARCH64, Class::Elf64) => Ok((Platform::Arm64, None)),
        (elf::EM_ARM, Class::Elf32) => match elf::FileFlags(flags & elf::EF_ARM_EABIMASK) {
            elf::EF_ARM_EABI_VER5 => Ok((Platform::ArmV7, float(flags))),
            // Linux on ARMv7 runs the programs of EABI 4 and 5 only, and no linker has written 4 since 2005.
            eabi => Err(format!("32-bit ARM with EABI version {}", eabi.0 >> 24)),
        },
        (machine, class) => Err(name(machine.0, class)),
    }
}

fn float(flags: u32) -> Option<FloatAbi> {
    if flags & elf::EF_ARM_ABI_FLOAT_HARD != 0 {
        Some(FloatAbi::Hard)
    } else if flags & elf::EF_ARM_ABI_FLOAT_SOFT != 0 {
        Some(FloatAbi::Soft)
    } else {
        None
    }
}

/// The machine of a file whose numbers begin with their highest byte, from its first bytes.
pub(super) fn big_endian(start: &[u8]) -> String {
    let class = if start.get(4) == Some(&elf::ELFCLASS32.0) { Class::Elf32 } else { Class::Elf64 };
    match start.get(18..20) {
        Some(&[high, low]) => format!("big-endian {}", name(u16::from_be_bytes([high, low]), class)),
        _ => "a big-endian machine".to_owned(),
    }
}

/// The name of a machine, for those that Kubernetes, Alpine or Debian have been built for.
fn name(machine: u16, class: Class) -> String {
    let name = match (elf::Machine(machine), class) {
        (elf::EM_X86_64, Class::Elf32) => "x32 (64-bit x86 with 32-bit addresses)",
        (elf::EM_X86_64, Class::Elf64) => "x86-64",
        (elf::EM_386, _) => "32-bit x86 (386)",
        (elf::EM_AARCH64, Class::Elf32) => "64-bit ARM with 32-bit addresses",
        (elf::EM_AARCH64, Class::Elf64) => "64-bit ARM",
        (elf::EM_ARM, _) => "32-bit ARM",
        (elf::EM_RISCV, Class::Elf64) => "64-bit RISC-V",
        (elf::EM_RISCV, Class::Elf32) => "32-bit RISC-V",
        (elf::EM_PPC64, _) => "64-bit POWER",
        (elf::EM_PPC, _) => "32-bit POWER",
        (elf::EM_S390, _) => "IBM Z (s390x)",
        (elf::EM_MIPS, _) => "MIPS",
        (elf::EM_LOONGARCH, _) => "LoongArch",
        _ => return format!("machine number {machine}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_apart() {
        let cases = [
            (Class::Elf64, 62, 0, Ok((Platform::Amd64, None))),
            (Class::Elf64, 183, 0, Ok((Platform::Arm64, None))),
            (Class::Elf32, 40, 0x0500_0400, Ok((Platform::ArmV7, Some(FloatAbi::Hard)))),
            (Class::Elf32, 40, 0x0500_0200, Ok((Platform::ArmV7, Some(FloatAbi::Soft)))),
            (Class::Elf32, 40, 0x0500_0002, Ok((Platform::ArmV7, None))),
            (Class::Elf32, 40, 0x0200_0000, Err("32-bit ARM with EABI version 2")),
            (Class::Elf32, 62, 0, Err("x32 (64-bit x86 with 32-bit addresses)")),
            (Class::Elf32, 3, 0, Err("32-bit x86 (386)")),
            (Class::Elf64, 243, 4, Err("64-bit RISC-V")),
            (Class::Elf64, 9999, 0, Err("machine number 9999")),
        ];
        for (class, machine, flags, expected) in cases {
            assert_eq!(platform(class, machine, flags), expected.map_err(str::to_owned), "{machine} {flags:#x}");
        }
    }
}

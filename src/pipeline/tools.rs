//! Compilers and UPX: found on the machine, or unpacked from pinned inputs.

use std::path::PathBuf;

use super::{PipelineError, Step, packages, work::Work};
use crate::{
    base::{ActionKey, Blob, Digest},
    binaries::upx::Upx,
    host::files,
    inputs::{
        archive::{self, Devices, Format, Limits},
        gosource::{
            toolchain::{Go, Search, Zig},
            version::name_in_output,
        },
        store::Store,
    },
    matrix::ToolchainName,
    plan::{self, Lock, Plan, Supply, ToolInput},
};

/// A program that the build runs.
#[derive(Clone, Debug)]
pub(super) enum Tool {
    Go(Go),
    Zig(Zig),
    Upx(Upx),
}

/// The programs of a plan.
#[derive(Clone, Debug, Default)]
pub(super) struct Tools(Vec<(plan::Tool, Tool)>);

impl Tool {
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Go(go) => &go.version_text,
            Self::Zig(zig) => &zig.version,
            Self::Upx(upx) => &upx.version,
        }
    }

    /// What of the program can change what it makes.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Go(go) => go.version_text.clone(),
            Self::Zig(zig) => format!("zig {}", zig.version),
            Self::Upx(upx) => format!("upx {} {}", upx.version, upx.digest),
        }
    }

    /// The program on the machine.
    fn find(name: ToolchainName, search: &Search, store: &Store) -> Result<Self, Step> {
        Ok(match name {
            ToolchainName::Go => Self::Go(Go::find(search)?),
            ToolchainName::Zig => Self::Zig(Zig::find(search, store)?),
            ToolchainName::Upx => Self::Upx(Upx::find(&search.path)?),
        })
    }

    /// The program in the folder of an unpacked input.
    fn unpacked(name: ToolchainName, input: &ToolInput, from: &Unpacked) -> Result<Self, Step> {
        let program = from.folder.join(&input.program);
        Ok(match (name, &input.input) {
            (ToolchainName::Go, _) => Self::Go(Go::at(&program)?),
            (ToolchainName::Zig, _) => Self::Zig(Zig::at(&program)?),
            (ToolchainName::Upx, Supply::Url(_)) => Self::Upx(Upx::detect(&program)?),
            // Packages bring the libraries that the program needs.
            (ToolchainName::Upx, Supply::Selection(_)) => {
                Self::Upx(Upx::in_root(&from.folder, &input.program, from.digest)?)
            }
        })
    }
}

impl Tools {
    pub(super) fn get(&self, tool: &plan::Tool) -> Option<&Tool> {
        self.0.iter().find(|(planned, _)| planned == tool).map(|(_, found)| found)
    }

    /// The tools of a plan as far as they are here already: for showing a plan, where nothing is fetched and nothing is
    /// an error. What is missing is said in words.
    pub(super) fn present(work: &Work) -> (Self, Vec<String>) {
        let mut tools = Self::default();
        let mut missing = Vec::new();
        for planned in work.plan.tools() {
            let found = match &planned.input {
                None => Tool::find(planned.name, work.search(), work.store()).map(Some),
                Some(input) => unpacked(work, planned.name, input),
            };
            match found {
                Ok(Some(tool)) => tools.0.push((planned.clone(), tool)),
                Ok(None) => {}
                Err(error) => missing.push(error.to_string()),
            }
        }
        (tools, missing)
    }

    /// Every tool of a plan; those that are inputs are fetched and unpacked. Versions that the lock pins must be met.
    pub(super) async fn get_all(work: &std::sync::Arc<Work>) -> Result<Self, PipelineError> {
        let mut tools = Self::default();
        for planned in work.plan.tools() {
            let name = planned.name;
            let doing = format!("finding {name}");
            let tool = match &planned.input {
                None => work.on_cpu(&doing, move |work| Tool::find(name, work.search(), work.store())).await?,
                Some(input) => {
                    let known = input.clone();
                    match work.on_cpu(&doing, move |work| unpacked(work, name, &known)).await? {
                        Some(tool) => tool,
                        None => {
                            let files = work.supply(&input.input).await?;
                            let input = input.clone();
                            work.on_cpu(&doing, move |work| unpack(work, name, &input, &files)).await?
                        }
                    }
                }
            };
            if planned.input.is_none() {
                check_pinned(&work.lock, name, &tool).map_err(|step| PipelineError::new(doing, step))?;
            }
            tools.0.push((planned.clone(), tool));
        }
        Ok(tools)
    }
}

/// The versions of the tools of a plan that are found on the machine, for the lock.
pub(super) fn found_versions(search: &Search, store: &Store, plan: &Plan) -> Vec<(String, String)> {
    let machine = plan.tools().into_iter().filter(|tool| tool.input.is_none());
    machine
        .filter_map(|tool| {
            let found = Tool::find(tool.name, search, store).ok()?;
            Some((tool.name.to_string(), found.version().to_owned()))
        })
        .collect()
}

fn check_pinned(lock: &Lock, name: ToolchainName, tool: &Tool) -> Result<(), Step> {
    // Locks of before have all that `go version` prints.
    match lock.tools.get(name.name()).map(|pinned| name_in_output(pinned)) {
        Some(pinned) if pinned != tool.version() => {
            let found = titled(name, tool.version());
            Err(Step::OtherTool { name, pinned: titled(name, pinned), found })
        }
        _ => Ok(()),
    }
}

/// `zig 0.13.0`; Go has its name in its version.
fn titled(name: ToolchainName, version: &str) -> String {
    if version.contains(name.name()) { version.to_owned() } else { format!("{name} {version}") }
}

/// Where a tool is unpacked, and the digest of all that it is unpacked from.
struct Unpacked {
    folder: PathBuf,
    digest: Digest,
}

impl Unpacked {
    fn of(work: &Work, digests: &[Digest]) -> Self {
        let digest = match digests {
            [only] => *only,
            several => {
                let key = ActionKey::new("tool", FORMAT);
                several.iter().fold(key, |key, digest| key.field("package", digest)).digest()
            }
        };
        Self { folder: work.store().folder("tools").join(digest.hex()), digest }
    }
}

/// Raised when packages come to lie otherwise where they are used from.
const FORMAT: u32 = 1;

/// A pinned tool where it has been unpacked before.
fn unpacked(work: &Work, name: ToolchainName, input: &ToolInput) -> Result<Option<Tool>, Step> {
    let Some(urls) = work.urls(&input.input) else { return Ok(None) };
    let digest = |url: &String| work.lock.inputs.get(url).map(|pin| pin.sha256);
    let Some(digests) = urls.iter().map(digest).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let from = Unpacked::of(work, &digests);
    let is_there = files::exists(&from.folder.join(&input.program));
    if is_there { Tool::unpacked(name, input, &from).map(Some) } else { Ok(None) }
}

/// Unpacks a tool into a folder named by its digest. The folder gets its name when it is whole.
fn unpack(work: &Work, name: ToolchainName, input: &ToolInput, supplied: &[(String, Blob)]) -> Result<Tool, Step> {
    let digests: Vec<_> = supplied.iter().map(|(_, blob)| blob.digest).collect();
    let from = Unpacked::of(work, &digests);
    if !files::exists(&from.folder) {
        let task = work.progress().start(&format!("unpack {name} {}", input.version), None);
        let tree = match (&input.input, supplied) {
            (Supply::Url(_), [(url, blob)]) => {
                let format = Format::of_name(url).unwrap_or(Format::Plain);
                let limits = Limits { devices: Devices::Refuse, ..Limits::default() };
                archive::unpack(work.store(), blob, format, &limits)?
            }
            _ => packages::debian::tools(work.store(), supplied)?,
        };
        let scratch = work.store().scratch()?;
        let whole = scratch.path().join("tool");
        archive::materialise(work.store(), &tree, &whole)?;
        files::rename_folder(&whole, &from.folder)?;
        task.done("");
    }
    Tool::unpacked(name, input, &from)
}

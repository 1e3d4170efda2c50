//! Compilers and UPX: found on the machine, or unpacked from pinned inputs.

use std::path::PathBuf;

use super::{PipelineError, Step, work::Work};
use crate::{
    base::Blob,
    binaries::upx::Upx,
    host::files,
    inputs::{
        archive::{self, Devices, Format, Limits},
        gosource::toolchain::{Go, Search, Zig},
        store::Store,
    },
    matrix::ToolchainName,
    plan::{self, Lock, Plan, ToolInput},
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
            Self::Go(go) => format!("go {}", go.version_text),
            Self::Zig(zig) => format!("zig {}", zig.version),
            Self::Upx(upx) => format!("upx {} {}", upx.version, upx.digest),
        }
    }

    /// The program on the machine.
    fn find(name: ToolchainName, search: &Search, store: &Store) -> Result<Self, Step> {
        Ok(match name {
            ToolchainName::Go => Self::Go(Go::find(search, None)?),
            ToolchainName::Zig => Self::Zig(Zig::find(search, store)?),
            ToolchainName::Upx => Self::Upx(Upx::find(&search.path)?),
        })
    }

    /// The program in an unpacked input.
    fn at(name: ToolchainName, program: &std::path::Path) -> Result<Self, Step> {
        Ok(match name {
            ToolchainName::Go => Self::Go(Go::at(program)?),
            ToolchainName::Zig => Self::Zig(Zig::at(program)?),
            ToolchainName::Upx => Self::Upx(Upx::detect(program)?),
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
                    let blob = work.input(&input.input).await?;
                    let input = input.clone();
                    work.on_cpu(&doing, move |work| unpack(work, name, &input, blob)).await?
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
    match lock.tools.get(name.name()) {
        Some(pinned) if pinned != tool.version() => {
            Err(Step::OtherTool { name, pinned: pinned.clone(), found: tool.version().to_owned() })
        }
        _ => Ok(()),
    }
}

/// A pinned tool where it has been unpacked before.
fn unpacked(work: &Work, name: ToolchainName, input: &ToolInput) -> Result<Option<Tool>, Step> {
    let Some(pin) = work.lock.inputs.get(&input.input) else { return Ok(None) };
    let program = folder(work, &pin.sha256.hex()).join(&input.program);
    if files::exists(&program) { Tool::at(name, &program).map(Some) } else { Ok(None) }
}

fn folder(work: &Work, hex: &str) -> PathBuf {
    work.store().folder("tools").join(hex)
}

/// Unpacks a tool into a folder named by its digest. The folder gets its name when it is whole.
fn unpack(work: &Work, name: ToolchainName, input: &ToolInput, blob: Blob) -> Result<Tool, Step> {
    let folder = folder(work, &blob.digest.hex());
    if !files::exists(&folder) {
        let task = work.progress().start(&format!("unpack {name} {}", input.version), None);
        let format = Format::of_name(&input.input).unwrap_or(Format::Plain);
        let limits = Limits { devices: Devices::Refuse, ..Limits::default() };
        let tree = archive::unpack(work.store(), &blob, format, &limits)?;
        let scratch = work.store().scratch()?;
        let whole = scratch.path().join("tool");
        archive::materialise(work.store(), &tree, &whole)?;
        files::rename_folder(&whole, &folder)?;
        task.done("");
    }
    Tool::at(name, &folder.join(&input.program))
}

//! What `cargo metadata` tells of the workspace.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Failure, Outcome};
use crate::shell;

/// One package of the workspace, or one it depends on.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The oldest Rust it says it needs, as it is written in its manifest.
    pub rust_version: Option<String>,
    /// Its features, sorted, `default` left out.
    pub features: Vec<String>,
    /// Whether it is a member of this workspace.
    pub member: bool,
    /// Where its manifest is.
    pub directory: PathBuf,
}

/// The workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of the workspace.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// The members; all the packages of the lock file too after
    /// [`Workspace::with_dependencies`].
    pub packages: Vec<Package>,
}

impl Workspace {
    /// The workspace with its members only. Needs no network.
    pub(crate) fn members() -> Outcome<Self> {
        Self::read(&["--no-deps"])
    }

    /// The workspace with everything it depends on, all features on.
    pub(crate) fn with_dependencies() -> Outcome<Self> {
        Self::read(&["--all-features"])
    }

    /// The member called `name`.
    pub(crate) fn member(&self, name: &str) -> Outcome<&Package> {
        self.packages.iter().find(|package| package.member && package.name == name).ok_or_else(|| {
            Failure::new(format!("the workspace has no package `{name}`"))
                .advise("look at `members` in the Cargo.toml of the workspace")
        })
    }

    fn read(options: &[&str]) -> Outcome<Self> {
        let mut command = shell::cargo();
        command.args(["metadata", "--format-version", "1"]).args(options);
        let text = shell::output(&mut command)?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(format!("`cargo metadata` did not write JSON: {error}"))
                .advise("run `cargo metadata --format-version 1` by hand and look")
        })?;
        Self::parse(&value).ok_or_else(|| {
            Failure::new("the answer of `cargo metadata` lacks a field this program needs")
                .advise("has its format changed? See xtask/src/metadata.rs")
        })
    }

    fn parse(value: &Value) -> Option<Self> {
        let members = value["workspace_members"].as_array()?;
        let packages = value["packages"]
            .as_array()?
            .iter()
            .map(|package| {
                let mut features: Vec<String> = package["features"].as_object()?.keys().cloned().collect();
                features.retain(|feature| feature != "default");
                features.sort();
                Some(Package {
                    name: package["name"].as_str()?.to_owned(),
                    version: package["version"].as_str()?.to_owned(),
                    rust_version: package["rust_version"].as_str().map(str::to_owned),
                    features,
                    member: members.contains(&package["id"]),
                    directory: Path::new(package["manifest_path"].as_str()?).parent()?.to_owned(),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            root: PathBuf::from(value["workspace_root"].as_str()?),
            target: PathBuf::from(value["target_directory"].as_str()?),
            packages,
        })
    }
}

//! `cargo xtask features`: every feature of every package, each alone.
//!
//! A build of the whole workspace unites the features that its members ask
//! for, and so hides a `cfg` that is missing. Here every package is checked by
//! itself, with no feature, with each feature alone, with the default ones and
//! with all. Tests are left out, for what they depend on would unite features
//! too.

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::{Package, Workspace};
use crate::shell;

/// Checks the packages, those after the command's name or else all.
pub(crate) fn run(mut args: Args) -> Outcome {
    let names = args.names();
    args.finish_alone()?;
    let workspace = Workspace::members()?;
    let packages: Vec<&Package> = if names.is_empty() {
        workspace.packages.iter().collect()
    } else {
        let named = names.iter().map(|name| workspace.member(name));
        named.collect::<Outcome<_>>()?
    };

    let mut failed = Vec::new();
    for package in packages {
        for choice in choices(package) {
            let mut command = shell::cargo();
            command
                .current_dir(&workspace.root)
                .args(["clippy", "--quiet", "--package", &package.name])
                .args(&choice)
                .args(["--", "--deny", "warnings"]);
            if shell::run(&mut command, "").is_err() {
                failed.push(shell::shown(&command));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "choices of features that do not build without a warning ({}):\n    {}",
        failed.len(),
        failed.join("\n    ")
    ))
    .advise("run one of these lines; most often a `cfg(feature = …)` or an optional dependency is missing"))
}

/// The options of cargo for each choice of features worth a check.
fn choices(package: &Package) -> Vec<Vec<String>> {
    if package.features.is_empty() {
        return vec![Vec::new()];
    }
    let none = "--no-default-features".to_owned();
    let mut choices = vec![Vec::new(), vec![none.clone()]];
    for feature in &package.features {
        choices.push(vec![none.clone(), "--features".to_owned(), feature.clone()]);
    }
    if package.features.len() > 1 {
        choices.push(vec!["--all-features".to_owned()]);
    }
    choices
}

#[cfg(test)]
mod tests {
    use super::choices;
    use crate::metadata::Package;

    fn lines(features: &[&str]) -> Vec<String> {
        let package = Package {
            name: "some".into(),
            version: "0.0.0".into(),
            rust_version: None,
            features: features.iter().map(|&name| name.to_owned()).collect(),
            member: true,
            directory: ".".into(),
        };
        choices(&package).iter().map(|line| line.join(" ")).collect()
    }

    #[test]
    fn each_feature_is_taken_alone() {
        assert_eq!(
            lines(&["json", "std"]),
            [
                "",
                "--no-default-features",
                "--no-default-features --features json",
                "--no-default-features --features std",
                "--all-features",
            ]
        );
    }

    #[test]
    fn a_package_without_features_is_checked_once() {
        assert_eq!(lines(&[]), [""]);
    }
}

//! `cargo xtask msrv`: whether the Rust version that the workspace states is
//! enough for what it depends on.
//!
//! It reads what the packages say of themselves, and so needs no second
//! toolchain; that the workspace's own code builds with the stated version is
//! for CI to show, which has that toolchain.

use crate::args::Args;
use crate::failure::{Failure, Outcome};
use crate::metadata::{Package, Workspace};

/// A Rust version as far as it matters here.
type Version = (u64, u64, u64);

/// Compares the stated version with that of each dependency.
pub(crate) fn run(args: Args) -> Outcome {
    args.finish_alone()?;
    let workspace = Workspace::with_dependencies()?;
    let (members, dependencies): (Vec<&Package>, Vec<&Package>) =
        workspace.packages.iter().partition(|package| package.member);
    let stated = stated(&members)?;

    let mut silent = 0;
    let mut needed: Vec<(Version, &Package)> = Vec::new();
    for package in dependencies {
        match &package.rust_version {
            Some(text) => needed.push((parse(text)?, package)),
            None => silent += 1,
        }
    }
    needed.sort_by(|(one, a), (other, b)| other.cmp(one).then(a.name.cmp(&b.name)));

    let too_new: Vec<String> = needed
        .iter()
        .filter(|(version, _)| *version > stated)
        .map(|(version, package)| format!("{} {} needs Rust {}", package.name, package.version, shown(*version)))
        .collect();
    if !too_new.is_empty() {
        return Err(Failure::new(format!(
            "the workspace states Rust {}, but it depends on packages that need a newer one:\n    {}",
            shown(stated),
            too_new.join("\n    ")
        ))
        .advise(
            "take an older version (`cargo update NAME --precise VERSION`), \
             or raise `rust-version` in the Cargo.toml of the workspace and say so in the changelog",
        ));
    }

    let newest = needed.first().map_or_else(
        || "none states a version".to_owned(),
        |(version, package)| {
            format!("the newest they need is {}, for {} {}", shown(*version), package.name, package.version)
        },
    );
    println!(
        "Rust {} is enough for the {} dependencies: {newest}; {silent} state none",
        shown(stated),
        needed.len() + silent,
    );
    Ok(())
}

/// The one version that all members state.
fn stated(members: &[&Package]) -> Outcome<Version> {
    let advice = "write `rust-version.workspace = true` in the Cargo.toml of every member";
    let mut stated: Option<(Version, &Package)> = None;
    for member in members {
        let text = member.rust_version.as_deref().ok_or_else(|| {
            Failure::new(format!("the package `{}` states no Rust version", member.name)).advise(advice)
        })?;
        let version = parse(text)?;
        match stated {
            Some((other, first)) if other != version => {
                return Err(Failure::new(format!(
                    "`{}` states Rust {}, but `{}` states {}",
                    first.name,
                    shown(other),
                    member.name,
                    shown(version)
                ))
                .advise(advice));
            }
            _ => stated = Some((version, member)),
        }
    }
    stated.map(|(version, _)| version).ok_or_else(|| Failure::new("the workspace has no member").advise(advice))
}

fn parse(text: &str) -> Outcome<Version> {
    let number = |part: Option<&str>| part.map_or(Some(0), |part| part.parse().ok());
    let mut parts = text.split('.');
    let version = (number(parts.next()), number(parts.next()), number(parts.next()));
    match version {
        (Some(major), Some(minor), Some(patch)) => Ok((major, minor, patch)),
        _ => Err(Failure::new(format!("`{text}` is no Rust version this program can read"))
            .advise("a `rust-version` is two or three numbers, such as 1.85")),
    }
}

fn shown((major, minor, patch): Version) -> String {
    if patch == 0 { format!("{major}.{minor}") } else { format!("{major}.{minor}.{patch}") }
}

#[cfg(test)]
mod tests {
    use super::{parse, shown};

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(parse("1.100").ok() > parse("1.85.1").ok());
        assert_eq!(parse("1.85").ok(), parse("1.85.0").ok());
        assert!(parse("1.x").is_err());
        assert_eq!(parse("1.85.1").map(shown).ok().as_deref(), Some("1.85.1"));
    }
}

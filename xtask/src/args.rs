//! Reading a command line without a library: a few options, then `--`, then
//! whatever is passed on.

use crate::failure::{Failure, Outcome};

/// The arguments of one command.
#[derive(Debug, Default)]
pub(crate) struct Args {
    own: Vec<String>,
    passed: Vec<String>,
}

impl Args {
    /// Splits `all` at the first `--`.
    pub(crate) fn new(all: impl IntoIterator<Item = String>) -> Self {
        let mut own: Vec<String> = all.into_iter().collect();
        let passed = match own.iter().position(|arg| arg == "--") {
            Some(at) => {
                let passed = own.split_off(at + 1);
                own.truncate(at);
                passed
            }
            None => Vec::new(),
        };
        Self { own, passed }
    }

    /// Whether help was asked for.
    pub(crate) fn wants_help(&self) -> bool {
        self.own.iter().any(|arg| arg == "--help" || arg == "-h")
    }

    /// Whether there are none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.passed.is_empty()
    }

    /// Takes the switch `name` if it is there.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        let before = self.own.len();
        self.own.retain(|arg| arg != name);
        self.own.len() < before
    }

    /// Takes the value of the option `name`: `--name value` or `--name=value`.
    pub(crate) fn value(&mut self, name: &str) -> Outcome<Option<String>> {
        let joined = format!("{name}=");
        let Some(at) = self.own.iter().position(|arg| arg == name || arg.starts_with(&joined)) else {
            return Ok(None);
        };
        let option = self.own.remove(at);
        if let Some(value) = option.strip_prefix(&joined) {
            return Ok(Some(value.to_owned()));
        }
        if at < self.own.len() {
            return Ok(Some(self.own.remove(at)));
        }
        Err(Failure::new(format!("`{name}` needs a value")).advise(format!("write `{name} VALUE`")))
    }

    /// Takes all that stands before `--` and is not an option.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let (options, names) = std::mem::take(&mut self.own).into_iter().partition(|arg| arg.starts_with('-'));
        self.own = options;
        names
    }

    /// Ends the reading: nothing may be left before `--`. Gives what stands
    /// after it.
    pub(crate) fn finish(self) -> Outcome<Vec<String>> {
        match self.own.first() {
            None => Ok(self.passed),
            Some(left) => Err(Failure::new(format!("unknown argument `{left}`"))
                .advise("see `cargo xtask help`; what is meant for the program that is run goes after `--`")),
        }
    }

    /// Ends the reading where nothing is passed on.
    pub(crate) fn finish_alone(self) -> Outcome {
        match self.finish()?.first() {
            None => Ok(()),
            Some(extra) => Err(Failure::new(format!("this command passes nothing on, but found `{extra}` after `--`"))
                .advise("leave out `--` and what follows it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn splits_options_from_what_is_passed_on() {
        let mut args = args("--min 90 --json=out.json --quick -- name --min 1");
        assert_eq!(args.value("--min").ok().flatten().as_deref(), Some("90"));
        assert_eq!(args.value("--json").ok().flatten().as_deref(), Some("out.json"));
        assert!(args.switch("--quick"));
        assert!(!args.switch("--quick"));
        assert_eq!(args.finish().ok(), Some(vec!["name".into(), "--min".into(), "1".into()]));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(args("--what").finish().is_err());
        assert!(args("-- more").finish_alone().is_err());
        assert!(args("--min").value("--min").is_err());
    }

    #[test]
    fn names_stand_apart_from_options() {
        let mut args = args("fmt --fail-fast docs");
        assert_eq!(args.names(), ["fmt", "docs"]);
        assert!(args.switch("--fail-fast"));
        assert!(args.finish_alone().is_ok());
    }
}

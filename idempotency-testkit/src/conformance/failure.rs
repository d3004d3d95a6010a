//! Why a case failed.

use std::fmt;

use idempotency_core::Key;

use crate::rule::{Broken, Rule};

/// What a case comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a case failed: which promise was broken, by what answer, and after what.
#[derive(Clone, Debug)]
pub struct Failure(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    case: Option<&'static str>,
    rule: Option<Rule>,
    text: String,
    key: Option<String>,
    /// How it came about, where that is more than one key's story.
    how: Option<String>,
    /// The calls before it, each with its answer.
    story: Vec<String>,
}

impl Failure {
    /// A broken promise, in words of the case's own.
    pub(crate) fn of(rule: Rule, text: impl Into<String>) -> Self {
        Self::new(Some(rule), format!("broken: {rule}. {}\n  {}", rule.promise(), text.into()))
    }

    /// What is no broken promise, but makes the case impossible.
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::new(None, text.into())
    }

    /// A task of a case was cut off by a panic: the store's, since the kit does not panic in one.
    pub(crate) fn panicked(error: tokio::task::JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
                Self::of(Rule::NoPanic, format!("it panicked: {text}"))
            }
            Err(error) => Self::other(error.to_string()),
        }
    }

    fn new(rule: Option<Rule>, text: String) -> Self {
        Self(Box::new(Parts { case: None, rule, text, key: None, how: None, story: Vec::new() }))
    }

    /// Adds which key it is about, and what was done with it before.
    pub(crate) fn at(mut self, key: &Key, story: &[String]) -> Self {
        self.0.key = Some(key.to_string());
        self.0.story = story.to_vec();
        self
    }

    /// Adds how it came about.
    pub(crate) fn and(mut self, how: &str) -> Self {
        self.0.story.clear();
        self.0.how = Some(how.to_owned());
        self
    }

    pub(crate) fn in_case(mut self, case: &'static str) -> Self {
        self.0.case = Some(case);
        self
    }

    /// The promise that was broken, where one was.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        self.0.rule
    }
}

impl From<Box<Broken>> for Failure {
    fn from(broken: Box<Broken>) -> Self {
        Self::new(Some(broken.rule), broken.to_string())
    }
}

/// The rule, the answer and what the contract answers; then how the key came to stand as it stood.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { case, text, key, how, story, .. } = &*self.0;
        if let Some(case) = case {
            writeln!(f, "the store does not pass `{case}`")?;
        }
        f.write_str(text)?;
        if let Some(how) = how {
            return write!(f, "\n{how}");
        }
        let Some(key) = key else { return Ok(()) };
        if story.is_empty() {
            return write!(f, "\nas the first call of the key {key}");
        }
        write!(f, "\nthe key `{key}` had been brought there by")?;
        // The beginning of a long story is no news: the last calls are what counts.
        let left_out = story.len().saturating_sub(30);
        if left_out > 0 {
            write!(f, "\n  … {left_out} calls, then")?;
        }
        story[left_out..].iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Failure {}

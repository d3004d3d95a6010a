//! The user that a server runs as, if it must not be root.

use std::path::Path;

use super::ServerError;

/// A user and their group, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// Whom `program` is to run as, if not as we do.
    pub(super) fn instead_of_root(program: &'static str) -> Result<Option<Self>, ServerError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = ["postgres", "nobody"].into_iter().find_map(|name| Self::named(name, &known));
        user.map(Some).ok_or(ServerError::NoUser { program })
    }

    /// Gives a file or folder to the user.
    pub(super) fn give(self, path: &Path) -> Result<(), ServerError> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).map_err(ServerError::io(format!(
            "cannot give {} to user {}",
            path.display(),
            self.uid
        )))
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        // On a Mac, `nobody` is -2.
        let mut number = || fields.next()?.parse::<i64>().ok().map(|number| number as u32);
        Some(Self { uid: number()?, gid: number()? }).filter(|user| user.uid != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn a_user_is_known_by_the_whole_name() {
        let passwd = "root:x:0:0::/:/bin/sh\nnobody2:x:7:8::/:/bin/sh\nnobody:*:-2:-2::/:/bin/sh\n";
        assert_eq!(User::named("nobody", passwd), Some(User { uid: u32::MAX - 1, gid: u32::MAX - 1 }));
        assert_eq!(User::named("postgres", passwd), None);
        assert_eq!(User::named("root", passwd), None, "that is whom we must not be");
    }
}

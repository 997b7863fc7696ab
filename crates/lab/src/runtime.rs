//! Where a lab in the background is found: a directory of this user's alone, with the control
//! socket, the lab's log, and the lab's own directory in it.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::sys::process::effective_user;

/// The environment variable that puts the runtime directory elsewhere: a second lab beside the
/// first.
pub const RUNTIME_VARIABLE: &str = "DGLB_LAB_RUNTIME";

/// The runtime directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// This user's: [`RUNTIME_VARIABLE`], else below `/run` for root, `$XDG_RUNTIME_DIR` or the
    /// place for temporary files for others. To be asked before a user namespace is entered.
    pub(crate) fn of_user() -> Self {
        if let Some(dir) = env::var_os(RUNTIME_VARIABLE) {
            return Self(dir.into());
        }
        let user = effective_user();
        let parent = if user == 0 { Some("/run".into()) } else { env::var_os("XDG_RUNTIME_DIR") };
        match parent.map(PathBuf::from).filter(|parent| parent.is_dir()) {
            Some(parent) => Self(parent.join("dglb-lab")),
            None => Self(env::temp_dir().join(format!("dglb-lab-{user}"))),
        }
    }

    /// The one at this path.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes sure that it exists and is nobody else's.
    ///
    /// # Errors
    /// What the system says; `PermissionDenied` where it belongs to, or can be written by, others.
    pub(crate) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let found = fs::symlink_metadata(&self.0)?;
        if found.is_dir() && found.uid() == effective_user() && found.permissions().mode() & 0o022 == 0 {
            return Ok(());
        }
        let told = format!("{} belongs to, or can be written by, somebody else", self.0.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, told))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("lab.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let dir = RuntimeDir::at(outer.path().join("a").join("b"));
        dir.make().unwrap();
        dir.make().unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(dir.make().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}

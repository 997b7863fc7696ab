//! Finding real servers on this machine. A program that is not there is an error which carries the
//! one line that installs it; a program that AppArmor keeps out of the lab's directories is one too,
//! since it would otherwise fail later and say something else.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::PrepareError;

/// Where Debian puts servers; an ordinary user's PATH often lacks these.
const SERVER_DIRS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// A real server: its executable and the line that installs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealProgram {
    /// The executable's name.
    pub(super) executable: &'static str,
    /// The one line that installs it.
    pub(super) install: &'static str,
}

impl RealProgram {
    /// The executable's path, if it is installed and may read the lab's files.
    pub(super) fn locate(self) -> Result<PathBuf, PrepareError> {
        let path = find(self.executable, env::var_os("PATH").as_deref())
            .ok_or(PrepareError::Missing { program: self.executable, install: self.install })?;
        match confining_profile(&path, Path::new("/")) {
            None => Ok(path),
            Some(profile) => Err(PrepareError::Confined {
                program: self.executable,
                remedy: format!("as root: apparmor_parser --remove {}", profile.display()),
                profile,
            }),
        }
    }
}

/// The first executable file of this name in PATH and the server directories.
fn find(executable: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let from_path = path.map(|path| env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    from_path.into_iter().filter(|dir| dir.is_absolute()).chain(SERVER_DIRS.map(PathBuf::from)).find_map(|dir| {
        let candidate = dir.join(executable);
        let runs = fs::metadata(&candidate).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        runs.then_some(candidate)
    })
}

/// The AppArmor profile that is in force for this executable, judged by the files below `root`,
/// since an ordinary user may not ask the kernel: AppArmor is on, a profile is installed, neither
/// disabled nor in complain mode, and nobody has added local rules to it.
fn confining_profile(executable: &Path, root: &Path) -> Option<PathBuf> {
    let on = fs::read_to_string(root.join("sys/module/apparmor/parameters/enabled")).ok()?;
    if on.trim() != "Y" {
        return None;
    }
    let name = executable.to_str()?.trim_start_matches('/').replace('/', ".");
    let dir = root.join("etc/apparmor.d");
    let profile = dir.join(&name);
    let text = fs::read_to_string(&profile).ok()?;
    let off = dir.join("disable").join(&name).exists() || dir.join("force-complain").join(&name).exists();
    let complains = text.lines().any(|line| line.contains("flags=(") && line.contains("complain"));
    let local = fs::read_to_string(dir.join("local").join(&name)).unwrap_or_default();
    let amended = local.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    (!off && !complains && !amended).then_some(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_are_found_and_path_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("some-server");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let path = dir.path().as_os_str();
        assert_eq!(find("some-server", Some(path)), None);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("some-server", Some(path)), Some(program));
        assert_eq!(find("no-such-server", Some(path)), None);
    }

    #[test]
    fn a_missing_program_names_the_line_that_installs_it() {
        let missing = RealProgram { executable: "no-such-server", install: "apt-get install no-such-server" };
        let error = missing.locate().unwrap_err();
        assert_eq!(error.to_string(), "needs no-such-server: apt-get install no-such-server");
    }

    #[test]
    fn a_profile_in_force_is_seen_and_one_that_is_not_is_not() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let named = Path::new("/usr/sbin/named");
        let confined = || confining_profile(named, root.path()).is_some();
        assert!(!confined(), "no AppArmor at all");
        put("sys/module/apparmor/parameters/enabled", "Y\n");
        assert!(!confined(), "no profile");
        put("etc/apparmor.d/usr.sbin.named", "profile named /usr/sbin/named flags=(attach_disconnected) {\n}\n");
        put("etc/apparmor.d/local/usr.sbin.named", "# local rules\n");
        assert!(confined());
        put("etc/apparmor.d/local/usr.sbin.named", "/tmp/** rw,\n");
        assert!(!confined(), "local rules");
        put("etc/apparmor.d/local/usr.sbin.named", "");
        put("etc/apparmor.d/disable/usr.sbin.named", "");
        assert!(!confined(), "disabled");
        put("sys/module/apparmor/parameters/enabled", "N\n");
        assert!(!confined(), "switched off");
    }
}

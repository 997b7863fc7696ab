//! The right to build a lab: root has it, an ordinary user gets it in a user namespace, and whoever
//! has neither is told what is missing.

use std::{
    env, fmt, fs, io,
    io::Write,
    process::{self, Command},
};

use thiserror::Error;

use crate::{
    net::Namespace,
    sys::{
        namespace::{Kind, map_to_root, unshare},
        process::{Before, effective_group, effective_user, prepare},
    },
};

/// Set in a process that [`run_test`] has started inside a user namespace; names the file that
/// proves the test body ran.
const INSIDE: &str = "DGLB_LAB_INSIDE";

/// Why this process cannot build a lab.
#[derive(Debug, Error)]
pub struct Missing {
    /// What the kernel said.
    pub error: io::Error,
    /// What to do about it, one line each.
    pub remedies: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the right to make network namespaces ({})", self.error)?;
        self.remedies.iter().try_for_each(|remedy| write!(f, "\n  - {remedy}"))
    }
}

/// Whether this process can build a lab as it is.
///
/// # Errors
/// [`Missing`], if it cannot; [`enter`] may then help.
pub fn check() -> Result<(), Missing> {
    try_out().map_err(missing)
}

/// Makes sure that this process can build a lab: if it cannot as it is, it becomes root of a user
/// namespace of its own. To be called before the process has a second thread.
///
/// # Errors
/// [`Missing`], if neither works.
pub fn enter() -> Result<(), Missing> {
    if check().is_ok() {
        return Ok(());
    }
    let (uid_map, gid_map) = maps();
    // Inside, /proc shows the limits of the inside.
    let remedies = remedies();
    let outcome =
        unshare(Kind::User).and_then(|()| map_to_root(uid_map.as_bytes(), gid_map.as_bytes())).and_then(|()| try_out());
    outcome.map_err(|error| Missing { error, remedies })
}

/// Whether the only user that exists for this process is root by name: then nothing can become
/// another user.
pub fn is_rootless() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("1")
}

/// Runs the body of a test that needs a lab: here, or, for an ordinary user, in a copy of this test
/// process inside a user namespace. `name` is the test's full name, as the test harness knows it.
/// Where neither works, the test is [`skip`]ped.
///
/// # Panics
/// If the body does, here or there.
pub fn run_test(name: &str, body: impl FnOnce()) {
    if let Some(proof) = env::var_os(INSIDE) {
        // A user namespace can be had that gives no rights: AppArmor does that.
        let ran = enter().map(|()| body());
        let told = ran.map_or_else(|missing| missing.to_string(), |()| name.to_owned());
        fs::write(proof, told).expect("the proof can be written where the parent made room for it");
    } else if check().is_ok() {
        body();
    } else {
        match run_test_inside(name) {
            Ok(told) if told == name => {}
            Ok(missing) => skip(&format!("{missing} (test {name})")),
            Err(error) => skip(&format!("{} (test {name})", missing(error))),
        }
    }
}

/// Says loudly that a test did not run, and what it needs; with `CI=true` that is a failure.
///
/// # Panics
/// With `CI=true` in the environment.
pub fn skip(needs: &str) {
    // The harness swallows what print macros write in a test that passes; this it does not.
    let _ = writeln!(io::stderr(), "SKIPPED: needs {needs}");
    assert!(env::var("CI").as_deref() != Ok("true"), "CI=true allows no skips; needs {needs}");
}

/// Returns the test's name if its body ran, or what was missing inside; an error means that no
/// user namespace could be had at all.
fn run_test_inside(name: &str) -> io::Result<String> {
    let room = tempfile::tempdir()?;
    let proof = room.path().join("ran");
    let mut command = Command::new(env::current_exe()?);
    command.args(["--exact", name, "--nocapture", "--include-ignored", "--test-threads=1"]).env(INSIDE, &proof);
    prepare(&mut command, Before { user: Some(maps()), die_with: Some(process::id()), ..Before::default() });
    let status = command.spawn()?.wait()?;
    assert!(status.success(), "{name} failed in a user namespace: {status}");
    Ok(fs::read_to_string(&proof).unwrap_or_else(|_| panic!("there is no test named {name}")))
}

fn maps() -> (String, String) {
    (format!("0 {} 1", effective_user()), format!("0 {} 1", effective_group()))
}

fn try_out() -> io::Result<()> {
    Namespace::create().and_then(|namespace| namespace.run(|| ()))
}

fn missing(error: io::Error) -> Missing {
    Missing { error, remedies: remedies() }
}

/// What is known to cause a refusal, as far as it is so here, and what helps.
fn remedies() -> Vec<String> {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let mut remedies = Vec::new();
    for (path, wanted) in [
        ("/proc/sys/user/max_user_namespaces", "user.max_user_namespaces=15000"),
        ("/proc/sys/user/max_net_namespaces", "user.max_net_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone=1"),
    ] {
        if number(path) == Some(0) {
            remedies.push(format!("{path} is 0: sysctl -w {wanted}"));
        }
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        let wanted = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        remedies.push(format!("AppArmor takes all capabilities away inside unprivileged user namespaces: {wanted}"));
    }
    if effective_user() == 0 && !is_rootless() {
        remedies.push(
            "root here lacks CAP_SYS_ADMIN or CAP_NET_ADMIN, or a seccomp filter forbids unshare: \
            in a container, run it with --privileged or --cap-add SYS_ADMIN --cap-add NET_ADMIN"
                .into(),
        );
    } else {
        remedies.push("root can always do it: sudo".into());
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_remedy() {
        let told = missing(io::Error::from_raw_os_error(libc::EPERM)).to_string();
        assert!(told.starts_with("the right to make network namespaces (Operation not permitted"), "{told}");
        assert!(told.contains("\n  - "), "{told}");
    }
}

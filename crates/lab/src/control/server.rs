//! The answering side, one request after the other: what is asked for changes the lab, so order is
//! worth more than speed.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    process,
    time::Duration,
};

use super::{Entrance, HostStatus, LONGEST, LinkStatus, Reply, Request, Status};
use crate::{
    host::Activity,
    lab::{HostError, Lab},
    topology::HostSpec,
};

/// How long a caller may take to say what it wants, and to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers until somebody asks for the lab's end; the lab has ended when this returns.
///
/// # Errors
/// When the socket fails for good.
pub(crate) fn serve(listener: &UnixListener, lab: &Lab) -> io::Result<()> {
    for stream in listener.incoming() {
        // A caller that goes away, or speaks nonsense, has had its answer.
        if let Ok(true) = stream.and_then(|stream| answer(stream, lab)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Answers one caller; true if the lab has ended.
fn answer(mut stream: UnixStream, lab: &Lab) -> io::Result<bool> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut text = Vec::new();
    Read::take(&mut stream, LONGEST).read_to_end(&mut text)?;
    let request = serde_json::from_slice(&text);
    let reply = match &request {
        Ok(request) => reply(request, lab).unwrap_or_else(Reply::Refused),
        Err(error) => Reply::Refused(error.to_string()),
    };
    let told = serde_json::to_vec(&reply).map_err(io::Error::other).and_then(|text| stream.write_all(&text));
    match request {
        Ok(Request::Down) => Ok(true),
        _ => told.map(|()| false),
    }
}

fn reply(request: &Request, lab: &Lab) -> Result<Reply, String> {
    match request {
        Request::Status => return Ok(Reply::Status(status(lab))),
        Request::Links { host } => return links(lab, host.as_deref()).map(Reply::Links).map_err(told),
        Request::Entrance { host } => return entrance(lab, host).map(Reply::Entrance).map_err(told),
        Request::Log { host } => return lab.log_tail(host).map(Reply::Log).map_err(told),
        Request::Down => lab.shutdown(),
        Request::Start { host } => lab.start(host).map_err(told)?,
        Request::Restart { host } => lab.restart(host).map_err(told)?,
        Request::Stop { host } => lab.stop(host).map_err(told)?,
        Request::Kill { host, signal } => lab.kill(host, *signal).map_err(told)?,
        Request::Cut { a, b: Some(b) } => lab.cut(a, b).map_err(told)?,
        Request::Cut { a, b: None } => lab.cut_host(a).map_err(told)?,
        Request::Heal { a, b: Some(b) } => lab.heal(a, b).map_err(told)?,
        Request::Heal { a, b: None } => lab.heal_host(a).map_err(told)?,
        Request::Delay { a, b, ms } => {
            let delay = Some(ms).filter(|ms| (0.0..=60_000.0).contains(*ms));
            let delay = delay.and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok());
            lab.set_delay(a, b, delay.ok_or("a delay is 0 to 60000 ms")?).map_err(told)?;
        }
        Request::Loss { a, b, percent } => {
            let loss = Some(percent / 100.0).filter(|loss| (0.0..=1.0).contains(loss));
            lab.set_loss(a, b, loss.ok_or("a loss is 0 to 100 percent")?).map_err(told)?;
        }
    }
    Ok(Reply::Done)
}

fn status(lab: &Lab) -> Status {
    let strays = lab.wire().strays();
    Status {
        process: process::id(),
        backend: format!("{:?}", lab.backend()).to_lowercase(),
        dir: lab.dir().to_owned(),
        hosts: lab.topology().hosts.iter().map(|spec| host_status(lab, spec)).collect(),
        multicast: strays.multicast,
        unroutable: strays.unroutable,
    }
}

fn host_status(lab: &Lab, spec: &HostSpec) -> HostStatus {
    let kind = |program: &toml::Value| program.get("kind").and_then(|kind| kind.as_str()).unwrap_or("?").to_owned();
    HostStatus {
        name: spec.name.clone(),
        addresses: spec.addresses.clone(),
        program: spec.program.as_ref().map(kind),
        state: match lab.activity(&spec.name) {
            Ok(Activity::Running(process)) => format!("running ({process})"),
            Ok(Activity::Ended(status)) => format!("ended ({status})"),
            Ok(Activity::Idle) | Err(_) => "idle".into(),
        },
        cut_off: lab.is_cut_off(&spec.name).unwrap_or(false),
    }
}

fn links(lab: &Lab, host: Option<&str>) -> Result<Vec<LinkStatus>, HostError> {
    if let Some(host) = host {
        lab.host_dir(host)?;
    }
    let names = || lab.topology().hosts.iter().map(|host| host.name.as_str());
    let pairs = names().flat_map(|from| names().map(move |to| (from, to)));
    let asked = pairs.filter(|(from, to)| from != to && host.is_none_or(|host| *from == host || *to == host));
    let all: Result<Vec<_>, _> = asked.map(|(from, to)| link_status(lab, from, to)).collect();
    let quiet = |link: &LinkStatus| link.sent + link.lost + link.cut + link.overflowed == 0 && !link.is_cut;
    Ok(all?.into_iter().filter(|link| host.is_some() || !quiet(link)).collect())
}

fn link_status(lab: &Lab, from: &str, to: &str) -> Result<LinkStatus, HostError> {
    let (link, counters) = (lab.link(from, to)?, lab.counters(from, to)?);
    Ok(LinkStatus {
        from: from.to_owned(),
        to: to.to_owned(),
        delay_ms: link.delay.as_secs_f64() * 1_000.0,
        jitter_ms: link.jitter.as_secs_f64() * 1_000.0,
        loss_percent: link.loss * 100.0,
        is_cut: link.cut || lab.is_cut_off(from)? || lab.is_cut_off(to)?,
        sent: counters.sent,
        lost: counters.lost,
        cut: counters.cut,
        overflowed: counters.overflowed,
    })
}

fn entrance(lab: &Lab, host: &str) -> Result<Entrance, HostError> {
    Ok(Entrance {
        process: process::id(),
        namespace: lab.namespace_path(host)?,
        dir: lab.host_dir(host)?.to_owned(),
        marker: lab.marker(),
    })
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

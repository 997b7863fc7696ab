//! Which part of the client networks goes to which site: spill, do not fall.
//!
//! Invariant: the shares add up to all clients or are all 0, and only sites that may have clients have one.
//! Whoever is down, or forbidden, loses all of it at once. Everything else goes in steps that stand until what
//! they did can be seen: a site above its target gives up as much as brings it to the target, to those
//! that have capacity to spare; and what it gave up comes back slowly once it has.

use serde::{Deserialize, Serialize};

use super::{Inputs, Standing};
use crate::{
    catalogue::{Form, Policy},
    report::Health,
};

/// All clients.
const ALL: u32 = 1_000;
/// A site gives up at most this part of its clients in one step …
const MOST_GIVEN: f64 = 0.5;
/// … and gets at most so many back …
const MOST_BACK: u32 = 100;
/// … and at first so many.
const FIRST_BACK: u32 = 50;
/// Clients come back until a site has this part of its target load; between that and the target it keeps
/// what it has.
const AIM: f64 = 0.9;
/// Clients that a site cannot keep go to so many of the next ones that have capacity to spare.
const SPREAD: usize = 4;

/// What became of the shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// They are what the policy's form wants.
    #[default]
    Wanted,
    /// They are as they were, since a step was not long ago, or nobody has room.
    Stands,
    /// Clients went from sites that may not have them any more, or had too many.
    Spilled,
    /// Clients came back.
    Back,
}

/// A site as far as shares go.
#[derive(Clone, Debug)]
struct Part {
    /// Index into the standings.
    at: usize,
    share: u32,
    /// What the policy's form wants it to have.
    wanted: u32,
    /// In thousandths of what it can do, if it tells.
    load: Option<u32>,
    capacity: f64,
    full: bool,
}

/// Gives every site its share. Where all clients go to the first, no site has one.
pub(super) fn share(standings: &mut [Standing], inputs: &Inputs) -> Step {
    let policy = &inputs.policy;
    let mut parts = parts(standings, inputs);
    want(&mut parts, standings, inputs);
    let spills = policy.target_load > 0 && policy.form != Form::Sticky;
    let known = spills && remember(&mut parts, standings, inputs);
    let step = if known {
        step(&mut parts, inputs)
    } else {
        parts.iter_mut().for_each(|part| part.share = part.wanted);
        Step::Wanted
    };
    let all_to_first = parts.first().is_some_and(|first| first.at == 0 && first.share == ALL);
    if !all_to_first {
        for part in parts {
            standings[part.at].ranked.share = part.share as u16;
        }
    }
    step
}

/// The sites that may have clients, best first: those that are up, or nobody knows, and that this DNS-LB may
/// hand out.
fn parts(standings: &[Standing], inputs: &Inputs) -> Vec<Part> {
    let may = |s: &Standing| s.health < Health::Draining && (s.loosened || !s.denied);
    let part = |(at, standing): (usize, &Standing)| {
        let candidate = &inputs.sites[standing.wish];
        Part {
            at,
            share: 0,
            wanted: 0,
            load: candidate.load(),
            capacity: candidate.site.capacity.unwrap_or(1.0),
            full: standing.full && !standing.loosened,
        }
    };
    standings.iter().enumerate().filter(|(_, s)| may(s)).map(part).collect()
}

/// What the policy's form wants.
fn want(parts: &mut [Part], standings: &[Standing], inputs: &Inputs) {
    let weight = |part: &Part| match inputs.policy.form {
        Form::RoundRobin => 1.0,
        _ => f64::from(inputs.sites[standings[part.at].wish].site.weight),
    };
    if inputs.policy.form.is_spread() {
        let weights: Vec<f64> = parts.iter().map(weight).collect();
        for (part, share) in parts.iter_mut().zip(apportion(ALL, &weights)) {
            part.wanted = share;
        }
    } else if let Some(first) = parts.first_mut() {
        first.wanted = ALL;
    }
}

/// What each had before; false if nothing is known of that.
fn remember(parts: &mut [Part], standings: &[Standing], inputs: &Inputs) -> bool {
    let Some(first) = inputs.previous.first() else { return false };
    let none_said = inputs.previous.iter().all(|placed| placed.share == 0);
    if none_said && inputs.policy.form.is_spread() {
        return false;
    }
    for part in &mut *parts {
        let name = &standings[part.at].ranked.site;
        part.share = match none_said {
            true => {
                if *name == first.site {
                    ALL
                } else {
                    0
                }
            }
            false => inputs.previous.iter().find(|p| p.site == *name).map_or(0, |p| u32::from(p.share).min(ALL)),
        };
    }
    // What was written down by somebody else may be anything.
    let before: Vec<f64> = parts.iter().map(|part| f64::from(part.share)).collect();
    if before.iter().sum::<f64>() > f64::from(ALL) {
        parts.iter_mut().zip(apportion(ALL, &before)).for_each(|(part, share)| part.share = share);
    }
    true
}

fn step(parts: &mut [Part], inputs: &Inputs) -> Step {
    let policy = &inputs.policy;
    let due = inputs.shares_stood_ms >= inputs.shares_stand_ms;
    let held: u32 = parts.iter().map(|part| part.share).sum();
    let mut lost = ALL.saturating_sub(held);
    let spare = spare(parts, policy);
    let room = spare.iter().any(|spare| *spare > 0.0);
    if due && room {
        for part in parts.iter_mut().filter(|part| part.full) {
            let over = 1.0 - f64::from(policy.target_load) / f64::from(part.load.unwrap_or(0).max(1));
            let given = ((f64::from(part.share) * over.clamp(0.0, MOST_GIVEN)).ceil() as u32).min(part.share);
            part.share -= given;
            lost += given;
        }
    }
    if lost > 0 {
        // Where nobody has room, who is up has to bear it, each as it can.
        let able: Vec<f64> = if room { spare } else { parts.iter().map(|part| part.capacity).collect() };
        for (part, share) in parts.iter_mut().zip(apportion(lost, &able)) {
            part.share += share;
        }
        return Step::Spilled;
    }
    if parts.iter().all(|part| part.share == part.wanted) {
        return Step::Wanted;
    }
    if due && come_back(parts, policy) { Step::Back } else { Step::Stands }
}

/// What the next few sites can take, in units of capacity: the best ones that have anything to spare.
fn spare(parts: &[Part], policy: &Policy) -> Vec<f64> {
    let mut left = SPREAD;
    let spare = |part: &Part| {
        let free = policy.target_load.saturating_sub(part.load.unwrap_or(0));
        if part.full || free == 0 || left == 0 {
            return 0.0;
        }
        left -= 1;
        part.capacity * f64::from(free)
    };
    parts.iter().map(spare).collect()
}

/// Gives sites back what the form wants them to have, as far as they have room, from those that have more than
/// that, the worst first. False if nobody has.
fn come_back(parts: &mut [Part], policy: &Policy) -> bool {
    let mut moved = false;
    for taker in 0..parts.len() {
        let part = &parts[taker];
        let mut wants = part.wanted.saturating_sub(part.share).min(room_for(part, policy));
        for giver in (0..parts.len()).rev().filter(|giver| *giver != taker) {
            let given = parts[giver].share.saturating_sub(parts[giver].wanted).min(wants);
            parts[giver].share -= given;
            parts[taker].share += given;
            wants -= given;
            moved |= given > 0;
        }
    }
    moved
}

/// How much more a site may get in one step: so much that, if all give it alike, it comes to its aim.
fn room_for(part: &Part, policy: &Policy) -> u32 {
    let aim = AIM * f64::from(policy.target_load);
    let Some(load) = part.load else { return MOST_BACK };
    if f64::from(load) >= aim {
        return 0;
    }
    if part.share == 0 || load == 0 {
        return FIRST_BACK;
    }
    let more = f64::from(part.share) * (aim / f64::from(load) - 1.0);
    (more.round() as u32).clamp(1, MOST_BACK)
}

/// Divides `whole` by the largest remainders; among equals the first gets it.
fn apportion(whole: u32, by: &[f64]) -> Vec<u32> {
    let sum: f64 = by.iter().sum();
    if sum <= 0.0 {
        return vec![0; by.len()];
    }
    let exact: Vec<f64> = by.iter().map(|part| f64::from(whole) * part / sum).collect();
    let mut shares: Vec<u32> = exact.iter().map(|share| share.floor() as u32).collect();
    let mut rest: Vec<usize> = (0..by.len()).filter(|at| by[*at] > 0.0).collect();
    rest.sort_by(|a, b| (exact[*b].fract()).total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let missing = whole.saturating_sub(shares.iter().sum()) as usize;
    rest.iter().take(missing).for_each(|at| shares[*at] += 1);
    shares
}

//! Measured matrices of round trips, as they were found: who measured, round after round, how far
//! all the others are. The data is not part of the repository.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use flate2::read::GzDecoder;

use crate::random::Random;

/// Nodes further than this from most of the others are dead or not on the Internet, in ms.
const TOO_FAR: f64 = 1_000.0;
/// Nodes nearer to each other than this are at one place, in ms.
const ONE_PLACE: f64 = 2.0;

/// Round trips in ms; NaN where there is none.
#[derive(Debug)]
pub(crate) struct Matrix {
    /// `[who][round][to whom]`.
    rounds: Vec<Vec<Vec<f64>>>,
    /// `[who][to whom]`, over all rounds.
    medians: Vec<Vec<f64>>,
    /// Nodes that are worth anything.
    nodes: Vec<usize>,
}

impl Matrix {
    /// End-user devices, very noisy, in steps of 10 ms: a line for each fresh round of one node.
    ///
    /// # Errors
    /// If the file cannot be read, or is none of its kind.
    pub(crate) fn seattle(folder: &Path) -> io::Result<Self> {
        let mut rounds = vec![Vec::new(); 99];
        for line in lines(&folder.join("seattle99_rounds_a.csv.gz"))? {
            let (_, node, row) = fields(&line?)?;
            rounds.get_mut(node).ok_or_else(malformed)?.push(row);
        }
        Ok(Self::new(rounds, 0.0))
    }

    /// Wired hosts, stable: the upper triangle of each of 18 slices. One node of each place is kept.
    ///
    /// # Errors
    /// If the file cannot be read, or is none of its kind.
    pub(crate) fn planetlab(folder: &Path) -> io::Result<Self> {
        const NODES: usize = 490;
        let mut rounds: Vec<Vec<Vec<f64>>> = vec![Vec::new(); NODES];
        let mut slices = Vec::new();
        for line in lines(&folder.join("planetlab490_slices.csv.gz"))? {
            let (slice, node, row) = fields(&line?)?;
            if slices.last() != Some(&slice) {
                slices.push(slice);
                rounds.iter_mut().for_each(|r| r.push(vec![f64::NAN; NODES]));
            }
            for (other, round_trip) in (node + 1..NODES).zip(row) {
                rounds[node][slices.len() - 1][other] = round_trip;
                rounds[other][slices.len() - 1][node] = round_trip;
            }
        }
        Ok(Self::new(rounds, ONE_PLACE))
    }

    fn new(rounds: Vec<Vec<Vec<f64>>>, apart: f64) -> Self {
        let of = |rows: &Vec<Vec<f64>>| (0..rounds.len()).map(|to| median(rows.iter().map(|row| row[to]))).collect();
        let medians: Vec<Vec<f64>> = rounds.iter().map(of).collect();
        let mut nodes: Vec<usize> = Vec::new();
        for node in 0..rounds.len() {
            let from = median(medians[node].iter().copied());
            let to = median(medians.iter().map(|row| row[node]));
            let apart = nodes.iter().all(|other| medians[node][*other] >= apart);
            if rounds[node].len() >= 15 && from < TOO_FAR && to < TOO_FAR && apart {
                nodes.push(node);
            }
        }
        Self { rounds, medians, nodes }
    }

    /// Nodes that are worth anything.
    pub(crate) fn nodes(&self) -> &[usize] {
        &self.nodes
    }

    /// What `node` measured, round after round.
    pub(crate) fn rounds(&self, node: usize) -> &[Vec<f64>] {
        &self.rounds[node]
    }

    /// How far `to` is from `from` over all rounds.
    pub(crate) fn median(&self, from: usize, to: usize) -> f64 {
        self.medians[from][to]
    }

    /// `count` sites far from each other: each is the farthest of five that were drawn.
    pub(crate) fn draw_sites(&self, count: usize, random: &mut Random) -> Vec<usize> {
        let mut drawn = || self.nodes[random.below(self.nodes.len() as u32) as usize];
        let mut sites = vec![drawn()];
        while sites.len() < count {
            // NaN, for itself or what was never measured, is not far.
            let distance = |node: usize| {
                sites
                    .iter()
                    .map(|s| self.medians[node][*s])
                    .fold(f64::INFINITY, |a, b| if b.is_nan() { 0.0 } else { a.min(b) })
            };
            let best = (0..5).map(|_| drawn()).map(|node| (distance(node), node)).max_by(|a, b| a.0.total_cmp(&b.0));
            sites.extend(best.filter(|(far, node)| *far > 0.0 && !sites.contains(node)).map(|(_, node)| node));
        }
        sites
    }
}

/// The middle of those that are numbers; NaN of none.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.filter(|f| !f.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 { f64::NAN } else { f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]) }
}

fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let file = File::open(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    Ok(BufReader::new(GzDecoder::new(file)).lines().skip(1))
}

/// Slice, node, and the round trips after them.
fn fields(line: &str) -> io::Result<(usize, usize, Vec<f64>)> {
    let mut fields = line.split(',');
    let mut number = || fields.next().and_then(|f| f.parse().ok()).ok_or_else(malformed);
    let (slice, node) = (number()?, number()?);
    let row = fields.map(|f| if f.is_empty() { Ok(f64::NAN) } else { f.parse().map_err(|_| malformed()) });
    Ok((slice, node, row.collect::<io::Result<_>>()?))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line is not: slice, node, round trips in ms")
}

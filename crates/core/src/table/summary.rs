//! What a block of addresses holds, in eight bytes that do not depend on what covers the block.
//!
//! A summary of a block is made of the summaries of its halves, so a change is passed up along one
//! path. What is inherited from shorter prefixes comes in only when a question is asked: a block in
//! which every entry says the same answers everybody alike if it is full of entries, or if just
//! that is inherited as well.

use super::group::GroupId;

/// What the entries of a block, that is, those longer than the block, say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    visible: Visible,
    /// Least depth at which everybody in the block can be asked and be told the final answer,
    /// whatever is inherited.
    always: u8,
    /// The same unless `group` is inherited: then some entries make no difference.
    unless: u8,
    /// The same if `group` is inherited, because of what other entries say.
    otherwise: u8,
    /// What is said, if all entries say the same; else the inherited group that spares most depth.
    group: GroupId,
}

/// What the addresses of a block see of its entries; an entry that more specific ones cover
/// completely is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visible {
    /// There is no entry.
    Nothing,
    /// Some addresses have an entry, and all of these say the same.
    Partly,
    /// All addresses have an entry, and all say the same.
    Wholly,
    /// Entries say different things.
    Mixed,
}

impl Summary {
    /// No entry.
    pub(super) const EMPTY: Self =
        Self { visible: Visible::Nothing, always: 0, unless: 0, otherwise: 0, group: GroupId(0) };

    /// A block of `depth` bits out of its halves.
    pub(super) fn join(depth: u8, left: Self, right: Self) -> Self {
        let always = left.always.max(right.always);
        let (more, less) = if left.unless >= right.unless { (left, right) } else { (right, left) };
        match (left.said(), right.said()) {
            (Some(None), Some(None)) => Self::EMPTY,
            (Some(one), Some(other)) if one == other || one.is_none() || other.is_none() => {
                let full = left.visible == Visible::Wholly && right.visible == Visible::Wholly;
                let visible = if full { Visible::Wholly } else { Visible::Partly };
                // Whoever inherits what all say has no need to go deeper, not even where an entry
                // that nobody sees says otherwise in between.
                let unless = more.unless.max(always).max(depth + 1);
                Self { visible, always: 0, unless, otherwise: 0, group: one.or(other).unwrap_or(more.group) }
            }
            _ => {
                let rest = if less.group == more.group { less.otherwise } else { less.unless };
                let otherwise = more.otherwise.max(rest);
                Self { visible: Visible::Mixed, always: always.max(depth + 1), otherwise, ..more }
            }
        }
    }

    /// A block of `depth` bits that has an entry of its own beside what it holds.
    pub(super) fn under(self, depth: u8, own: GroupId) -> Self {
        let alone = Self { visible: Visible::Wholly, group: own, ..Self::EMPTY };
        match self.answer(Some(own)) {
            Some(answer) if answer == Some(own) => alone,
            Some(answer) => Self { group: answer.unwrap_or(own), always: self.settled(depth, Some(own)), ..alone },
            None => Self { visible: Visible::Mixed, always: self.settled(depth, Some(own)), ..Self::EMPTY },
        }
    }

    /// A wider block of `depth` bits that holds nothing beside this one of `from` bits.
    pub(super) fn within(self, from: u8, depth: u8) -> Self {
        if from > depth { Self::join(from - 1, self, Self::EMPTY) } else { self }
    }

    /// The answer that everybody in the block gets if `inherited` covers it; `None` if not all get
    /// the same.
    pub(super) fn answer(self, inherited: Option<GroupId>) -> Option<Option<GroupId>> {
        match self.visible {
            Visible::Nothing => Some(inherited),
            Visible::Partly => (inherited == Some(self.group)).then_some(inherited),
            Visible::Wholly => Some(Some(self.group)),
            Visible::Mixed => None,
        }
    }

    /// The least depth, not less than the block's own, at which everybody in the block is told what
    /// the whole address would have been told.
    pub(super) fn settled(self, depth: u8, inherited: Option<GroupId>) -> u8 {
        if self.answer(inherited) == Some(inherited) {
            return depth;
        }
        let rest = if inherited == Some(self.group) { self.otherwise } else { self.unless };
        self.always.max(rest).max(depth + 1)
    }

    /// Whether entries say different things.
    pub(super) fn is_mixed(self) -> bool {
        self.visible == Visible::Mixed
    }

    /// The one thing that the entries say, if they do; `Some(None)` if there are none.
    fn said(self) -> Option<Option<GroupId>> {
        match self.visible {
            Visible::Nothing => Some(None),
            Visible::Partly | Visible::Wholly => Some(Some(self.group)),
            Visible::Mixed => None,
        }
    }
}

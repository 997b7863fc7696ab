//! Groups: the DNS-LBs of one entry. A list of members exists once, so two answers are equal
//! exactly when their ids are.
//!
//! Readers see [`Groups`], pages shared between versions of the table; the writer alone has the
//! [`Interner`], which counts users and hands the id of an unused group out again. That is safe
//! because an older table holds its own pages: an id means something only together with the table
//! it came from.

use std::{collections::HashMap, sync::Arc};

use super::{LbIndex, walk::COUNTS};

/// Ids are 24 bits wide, so that an id and a prefix length share one 32-bit word of the table.
pub(super) const MOST_GROUPS: usize = (1 << 24) - 1;

/// Groups per page: one page is copied for a changed group, and one pointer per page.
const PAGE: usize = 256;

/// Lists up to this long lie inside the group itself, one cache line with the rest of it.
const INLINE: usize = 6;

/// One DNS-LB of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Which DNS-LB.
    pub lb: LbIndex,
    /// Lower is asked first.
    pub preference: u16,
    /// Share among members of equal preference; only ratios matter.
    pub weight: u16,
}

/// A number for a list of members, unique within one table and meaningless outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// The DNS-LBs that serve a prefix: at least one, sorted by preference, then by index.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Group {
    id: GroupId,
    members: Members,
}

#[derive(Clone, Debug)]
enum Members {
    Few { count: u8, list: [Member; INLINE] },
    Many(Arc<[Member]>),
}

/// Every group of one version of the table. A clone shares all pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<[Arc<[Group]>]>);

/// The writer's index of [`Groups`]: from a list of members to its id, with the number of entries
/// that use it.
#[derive(Debug, Default)]
pub(super) struct Interner {
    known: HashMap<Arc<[Member]>, Interned>,
    free: Vec<GroupId>,
    /// Ids below this one were handed out at some time.
    fresh: usize,
}

#[derive(Debug)]
struct Interned {
    id: GroupId,
    users: usize,
}

impl Group {
    /// The group's number within the table that it was found in.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The DNS-LBs by (preference, index): most preferred first, never empty.
    pub fn members(&self) -> &[Member] {
        match &self.members {
            Members::Few { count, list } => &list[..usize::from(*count)],
            Members::Many(list) => list,
        }
    }

    fn new(id: GroupId, members: &Arc<[Member]>) -> Self {
        let mut list = [Member { lb: LbIndex(0), preference: 0, weight: 0 }; INLINE];
        let members = match list.get_mut(..members.len()) {
            Some(few) => {
                few.copy_from_slice(members);
                Members::Few { count: members.len() as u8, list }
            }
            None => Members::Many(Arc::clone(members)),
        };
        Self { id, members }
    }

    fn unused() -> Self {
        Self::new(GroupId(0), &Arc::default())
    }
}

impl Groups {
    /// The group of this number, or nothing if the table has none.
    pub(super) fn at(&self, id: GroupId) -> Option<&Group> {
        let index = id.0 as usize;
        self.0.get(index / PAGE)?.get(index % PAGE)
    }

    /// Octets of memory in use by these pages.
    pub(super) fn bytes(&self) -> usize {
        let lists = self.0.iter().flat_map(|page| page.iter()).map(|group| match &group.members {
            Members::Few { .. } => 0,
            Members::Many(list) => size_of_val(&**list) + COUNTS,
        });
        let pages = self.0.iter().map(|page| size_of_val(&**page) + COUNTS);
        size_of_val(&*self.0) + pages.sum::<usize>() + lists.sum::<usize>()
    }

    fn put(&mut self, index: usize, group: Group) {
        if index / PAGE >= self.0.len() {
            let page: Arc<[Group]> = vec![Group::unused(); PAGE].into();
            self.0 = self.0.iter().cloned().chain([page]).collect();
        }
        let page = &mut Arc::make_mut(&mut self.0)[index / PAGE];
        Arc::make_mut(page)[index % PAGE] = group;
    }
}

impl Interner {
    /// The id of `members`, which gets one more user. `members` is sorted and not empty. Nothing
    /// if [`MOST_GROUPS`] are in use.
    pub(super) fn acquire(&mut self, groups: &mut Groups, members: &[Member]) -> Option<GroupId> {
        if let Some(known) = self.known.get_mut(members) {
            known.users += 1;
            return Some(known.id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.fresh < MOST_GROUPS => {
                self.fresh += 1;
                GroupId(self.fresh as u32 - 1)
            }
            None => return None,
        };
        let members: Arc<[Member]> = members.into();
        groups.put(id.0 as usize, Group::new(id, &members));
        self.known.insert(members, Interned { id, users: 1 });
        Some(id)
    }

    /// One user of `id` less; the last one frees the group in `groups`, older tables keep theirs.
    pub(super) fn release(&mut self, groups: &mut Groups, id: GroupId) {
        let Some(group) = groups.at(id) else { return };
        let Some(known) = self.known.get_mut(group.members()) else { return };
        known.users -= 1;
        if known.users == 0 {
            self.known.remove(group.members());
            groups.put(id.0 as usize, Group::unused());
            self.free.push(id);
        }
    }

    /// How many groups are in use.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

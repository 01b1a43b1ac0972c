//! Programs, what they do on their own, and which of them are alike.

use std::collections::BTreeMap;

/// Rows by their tags, one bit each: three that are there at first, and one per operation.
pub type Tags = u16;
/// The rows of each key.
pub type State = [Tags; 3];
/// What each operation saw.
pub type Seen = [Tags; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads the keys from the first to the second.
    Read(usize, usize),
    Add(usize),
    Put(usize),
    Delete(usize),
}

pub const OPS: [Op; 15] = [
    Op::Read(0, 0),
    Op::Read(1, 1),
    Op::Read(2, 2),
    Op::Read(0, 1),
    Op::Read(1, 2),
    Op::Read(0, 2),
    Op::Add(0),
    Op::Add(1),
    Op::Add(2),
    Op::Put(0),
    Op::Put(1),
    Op::Put(2),
    Op::Delete(0),
    Op::Delete(1),
    Op::Delete(2),
];

pub type Program = Vec<Op>;

/// The tag of the row that an operation writes.
pub fn tag(transaction: usize, operation: usize) -> Tags {
    1 << (3 + 3 * transaction + operation)
}

/// Runs a program on its own, as in a serial order.
pub fn run_alone(program: &[Op], transaction: usize, state: &mut State) -> Seen {
    let mut seen = [0; 3];
    for (n, op) in program.iter().enumerate() {
        let tag = tag(transaction, n);
        match *op {
            Op::Read(first, last) => {
                seen[n] = state[first..=last].iter().fold(0, |all, rows| all | rows);
            }
            Op::Add(key) => state[key] |= tag,
            Op::Put(key) => seen[n] = std::mem::replace(&mut state[key], tag),
            Op::Delete(key) => seen[n] = std::mem::take(&mut state[key]),
        }
    }
    seen
}

/// Keys read (bits) and what is left at each key: 0 nothing written, 1 added, 2 put, 3 deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Footprint {
    pub reads: u8,
    pub writes: [u8; 3],
}

impl Footprint {
    pub fn of(program: &[Op]) -> Self {
        let mut footprint = Self::default();
        for op in program {
            let Self { reads, writes } = &mut footprint;
            match *op {
                Op::Read(first, last) => (first..=last).for_each(|key| *reads |= 1 << key),
                // After deleting, adding leaves its own rows only, as putting does.
                Op::Add(key) => writes[key] = [1, 1, 2, 2][usize::from(writes[key])],
                Op::Put(key) | Op::Delete(key) => {
                    *reads |= 1 << key;
                    writes[key] = if matches!(op, Op::Put(_)) { 2 } else { 3 };
                }
            }
        }
        footprint
    }

    pub fn rename(self, names: [usize; 3]) -> Self {
        let mut renamed = Self::default();
        for (key, name) in names.into_iter().enumerate() {
            renamed.reads |= (self.reads >> key & 1) << name;
            renamed.writes[name] = self.writes[key];
        }
        renamed
    }

    pub fn without(mut self, key: usize) -> Self {
        self.reads &= !(1 << key);
        self.writes[key] = 0;
        self
    }

    pub fn touches(self, key: usize) -> bool {
        self.reads >> key & 1 == 1 || self.writes[key] > 0
    }
}

pub const RENAMINGS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// One program for each footprint that up to three operations can have.
pub fn programs() -> BTreeMap<Footprint, Program> {
    let mut programs = BTreeMap::new();
    for a in OPS {
        for b in OPS {
            for c in OPS {
                let program = vec![a, b, c];
                programs.entry(Footprint::of(&program)).or_insert(program);
            }
        }
    }
    programs
}

/// Whether no smaller triple stands for this one: one without a key that only one transaction touches, or nobody writes.
pub fn matters(triple: [Footprint; 3], all: &BTreeMap<Footprint, Program>) -> bool {
    (0..3).all(|key| {
        let touching = triple.iter().filter(|footprint| footprint.touches(key));
        let count = touching.count();
        let written = triple.iter().any(|footprint| footprint.writes[key] > 0);
        let without = triple.map(|footprint| footprint.without(key));
        let smaller = without
            .iter()
            .all(|footprint| *footprint == Footprint::default() || all.contains_key(footprint));
        count == 0 || count > 1 && written || !smaller
    })
}

/// Whether no renaming of keys gives a smaller triple that is also looked at.
pub fn is_first(triple: [Footprint; 3], all: &BTreeMap<Footprint, Program>) -> bool {
    RENAMINGS.iter().all(|names| {
        let renamed = triple.map(|footprint| footprint.rename(*names));
        renamed >= triple || renamed.iter().any(|footprint| !all.contains_key(footprint))
    })
}

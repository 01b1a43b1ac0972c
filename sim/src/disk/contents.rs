//! The bytes of one file: durable ones, unsynced changes over them, and what becomes of those.

use fastrand::Rng;

use super::SECTOR;

/// A change of a file that is not synced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These bytes at that offset.
    Write(u64, Vec<u8>),
    /// That length.
    Truncate(u64),
}

/// The contents of a file.
#[derive(Default)]
pub(super) struct Contents {
    /// What survives a crash.
    durable: Vec<u8>,
    /// What reads see.
    cached: Vec<u8>,
    /// What a sync makes durable.
    unsynced: Vec<Change>,
    /// When a sync last failed: handles opened before it are of no use for writing.
    poisoned: Option<u64>,
}

/// What became of unsynced changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Survived {
    pub kept: u64,
    pub lost: u64,
    pub torn: u64,
    /// Something was kept though something before it was lost.
    pub reordered: bool,
}

/// A rule by which changes survive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fates {
    keep: u8,
    lose: u8,
    tear: u8,
    /// Nothing survives after the first one that did not.
    in_order: bool,
}

/// What becomes of one change.
pub(super) struct Fate {
    /// What is left of it.
    pub survivors: Vec<Change>,
    /// Whether that is some of it and not all.
    pub is_torn: bool,
}

impl Contents {
    pub fn len(&self) -> u64 {
        self.cached.len() as u64
    }

    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let start = offset.min(self.len()) as usize;
        let available = &self.cached[start..];
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        count
    }

    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.unsynced.push(change);
    }

    pub fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Makes durable what survives of the unsynced changes; no later sync will write the others.
    pub fn settle(&mut self, fates: &Fates, rng: &mut Rng) -> Survived {
        let mut survived = Survived::default();
        for change in self.unsynced.drain(..) {
            let incomplete = survived.lost + survived.torn > 0;
            if fates.in_order && incomplete {
                survived.lost += 1;
                continue;
            }
            let fate = fates.draw(rng, change);
            match (fate.survivors.is_empty(), fate.is_torn) {
                (true, _) => survived.lost += 1,
                (_, true) => survived.torn += 1,
                _ => survived.kept += 1,
            }
            survived.reordered |= incomplete && !fate.survivors.is_empty();
            for survivor in fate.survivors {
                survivor.apply(&mut self.durable);
            }
        }
        survived
    }

    /// From now on reads see what is durable.
    pub fn forget_cache(&mut self) {
        debug_assert!(self.unsynced.is_empty(), "settled before");
        self.cached.clone_from(&self.durable);
    }

    /// Handles opened before `now` write no more.
    pub fn poison(&mut self, now: u64) {
        self.poisoned = Some(now);
    }

    pub fn is_poisoned(&self, opened: u64) -> bool {
        self.poisoned.is_some_and(|poisoned| opened < poisoned)
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let index = |offset: u64| usize::try_from(offset).expect("simulated files are small");
        match self {
            Change::Write(offset, written) => {
                if written.is_empty() {
                    return;
                }
                let start = index(*offset);
                let end = start + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(written);
            }
            Change::Truncate(len) => bytes.resize(index(*len), 0),
        }
    }
}

impl Fates {
    pub fn all_kept() -> Self {
        Self {
            keep: 1,
            lose: 0,
            tear: 0,
            in_order: false,
        }
    }

    pub fn all_lost() -> Self {
        Self {
            keep: 0,
            lose: 1,
            tear: 0,
            in_order: false,
        }
    }

    /// Each as it is drawn.
    pub fn independent(tear: bool) -> Self {
        Self {
            keep: 1,
            lose: 1,
            tear: tear.into(),
            in_order: false,
        }
    }

    /// As if written in order, up to some point.
    pub fn prefix(tear: bool) -> Self {
        Self {
            in_order: true,
            ..Self::independent(tear)
        }
    }

    /// All torn, as far as they can be.
    pub fn torn() -> Self {
        Self {
            keep: 0,
            lose: 0,
            tear: 1,
            in_order: false,
        }
    }

    /// What becomes of a change. One that lies in a single sector cannot be torn: it is kept or lost.
    pub fn draw(&self, rng: &mut Rng, change: Change) -> Fate {
        let whole = |survivors| Fate {
            survivors,
            is_torn: false,
        };
        let ticket = rng.u8(..self.keep + self.lose + self.tear);
        if ticket < self.keep {
            return whole(vec![change]);
        }
        if ticket < self.keep + self.lose {
            return whole(Vec::new());
        }
        match tear(rng, &change) {
            Some(survivors) => Fate {
                survivors,
                is_torn: true,
            },
            None if rng.bool() => whole(vec![change]),
            None => whole(Vec::new()),
        }
    }
}

/// Keeps some sectors of a write that has several, and loses some.
fn tear(rng: &mut Rng, change: &Change) -> Option<Vec<Change>> {
    let Change::Write(offset, bytes) = change else {
        return None;
    };
    let mut sectors = Vec::new();
    let (mut at, mut rest) = (*offset, bytes.as_slice());
    while !rest.is_empty() {
        let in_sector = usize::try_from(SECTOR - at % SECTOR).expect("sectors are small");
        let (sector, beyond) = rest.split_at(in_sector.min(rest.len()));
        sectors.push(Change::Write(at, sector.to_vec()));
        at += sector.len() as u64;
        rest = beyond;
    }
    if sectors.len() < 2 {
        return None;
    }
    // One that is kept for certain, and one that is lost.
    let kept = rng.usize(..sectors.len());
    let lost = (kept + rng.usize(1..sectors.len())) % sectors.len();
    let mut number = 0..;
    sectors.retain(|_| {
        let number = number.next();
        number == Some(kept) || number != Some(lost) && rng.bool()
    });
    Some(sectors)
}

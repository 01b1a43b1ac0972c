//! The log on the disk, and the lease that says who may write it.
//!
//! Two files. `lease` is one sector: the token of the server that holds the database, and how much of the log was
//! durable when it took over. `log` is records, one after another. An append writes a record and syncs; whatever goes
//! wrong on the way is undone by [`Log::repair`], or the outcome is unknown until that succeeds.
//!
//! Opening takes the database over: the token in `lease` goes up, and whoever has an older one finds out before it
//! touches anything. Then the log is read up to the first record that is not whole. What follows was never
//! acknowledged and is cut off, unless something proves that it had been durable: that is damage, and is reported.
//! A checksum that does not fit may be the read's fault, so nothing is believed to be bad that was not read several
//! times. What the last server may not have synced is written again, since after a failed sync reads show bytes that
//! the disk does not have, and no sync would write.
//!
//! Invariants: the first [`Log::end`] bytes are whole records and durable; nothing is written while the token is not
//! ours.

use concave_core::persistence::PersistenceError;
use concave_core::planted::{Bug, planted};

use super::record::{self, Entry, HEADER_LEN, Header, Location, MAGIC};
use crate::disk::{Disk, DiskError, File};

/// How often bytes are read whose checksum does not fit, before they are believed to be bad.
const READ_ATTEMPTS: usize = 8;
/// Bytes per write: larger records take several, which a crash can reorder.
const WRITE_LEN_MAX: usize = 2048;
/// Bytes of the lease.
const LEASE_LEN: usize = 20;

const LOG: &str = "log";
const LEASE: &str = "lease";

/// The log of one server.
pub struct Log {
    disk: Disk,
    file: File,
    fence: Fence,
    /// Durable bytes, all of whole records.
    end: u64,
    /// Of the last record.
    sequence: u64,
    /// Something may follow after `end` that must not be there.
    has_remains: bool,
}

/// Tells whether this server still holds the database. Clones ask for the same one.
#[derive(Clone)]
pub struct Fence {
    lease: File,
    token: u64,
}

/// A record that is written and not synced.
pub struct Unsynced {
    entry: Entry,
    end: u64,
}

impl Log {
    /// Takes the database over and reads its log.
    ///
    /// # Errors
    /// If the disk fails, or the log is damaged.
    pub fn open(disk: &Disk) -> Result<(Self, Vec<Entry>), PersistenceError> {
        let lease = disk.open(LEASE).map_err(unavailable)?;
        let file = disk.open(LOG).map_err(unavailable)?;
        let (token, known) = read_lease(&lease)?;
        let token = token + 1;
        write_lease(&lease, token, known)?;
        let mut log = Self {
            disk: disk.clone(),
            file,
            fence: Fence {
                lease: lease.clone(),
                token,
            },
            end: 0,
            sequence: 0,
            has_remains: false,
        };
        let mut entries = Vec::new();
        let mut last_token = 0;
        while let Some((header, payload)) = log.read_record(log.end)? {
            let payload_at = log.end + HEADER_LEN as u64;
            let next = payload_at + payload.len() as u64;
            if header.sequence != log.sequence + 1 {
                break;
            }
            let decoded = record::decode(&payload, payload_at);
            let entry = decoded.filter(|_| (last_token..token).contains(&header.token));
            entries.push(entry.ok_or_else(|| corrupt("a record makes no sense", log.end))?);
            if log.end >= known {
                log.write_record(log.end, &header, &payload)
                    .map_err(unavailable)?;
            }
            last_token = header.token;
            log.sequence = header.sequence;
            log.end = next;
        }
        log.make_sure_it_is_torn(known)?;
        log.file.truncate(log.end).map_err(unavailable)?;
        log.file.sync().map_err(unavailable)?;
        write_lease(&lease, token, log.end)?;
        lease.sync().map_err(unavailable)?;
        Ok((log, entries))
    }

    /// Tells others whether this server still holds the database.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Writes a record, of which [`Self::sync`] will say whether it is there.
    ///
    /// # Errors
    /// `Unknown` if it could not be undone; otherwise nothing was written.
    pub fn write(&mut self, payload: &[u8]) -> Result<Unsynced, PersistenceError> {
        self.fence.check()?;
        self.repair()?;
        let header = Header {
            payload_len: u32::try_from(payload.len()).expect("records are small"),
            sequence: self.sequence + 1,
            token: self.fence.token,
            synced: self.end,
            payload_crc: crc32fast::hash(payload),
        };
        self.has_remains = true;
        let payload_at = self.end + HEADER_LEN as u64;
        self.write_record(self.end, &header, payload)
            .map_err(|error| self.undo(error))?;
        let entry = record::decode(payload, payload_at);
        Ok(Unsynced {
            entry: entry.expect("what was encoded can be decoded"),
            end: payload_at + payload.len() as u64,
        })
    }

    /// Makes a record durable, and gives what it holds.
    ///
    /// # Errors
    /// `Unknown` if it could not be undone; otherwise nothing was written.
    pub fn sync(&mut self, unsynced: Unsynced) -> Result<Entry, PersistenceError> {
        // Whoever took over since the record was written has found it, or has cut it off.
        self.fence.check().map_err(unknown)?;
        if !planted(Bug::SyncSkipped) {
            self.file.sync().map_err(|error| self.undo(error))?;
        }
        self.end = unsynced.end;
        self.sequence += 1;
        self.has_remains = false;
        Ok(unsynced.entry)
    }

    /// Removes what an append that failed, or was given up, has left behind. Afterwards what was unknown is known not
    /// to have happened.
    ///
    /// # Errors
    /// If the disk still fails.
    pub fn repair(&mut self) -> Result<(), PersistenceError> {
        if !self.has_remains || planted(Bug::FailedAppendNotUndone) {
            return Ok(());
        }
        self.fence.check()?;
        // After a failed sync, only a new handle writes.
        self.file = self.disk.open(LOG).map_err(unavailable)?;
        self.file.truncate(self.end).map_err(unavailable)?;
        self.file.sync().map_err(unavailable)?;
        self.has_remains = false;
        Ok(())
    }

    /// What to say of an append that the disk refused.
    fn undo(&mut self, error: DiskError) -> PersistenceError {
        match (self.repair(), error) {
            (Err(error), _) => unknown(error),
            (Ok(()), DiskError::Full) => PersistenceError::Full(error.to_string()),
            (Ok(()), _) => unavailable(error),
        }
    }

    /// The record at `at`; `None` if there is no whole one.
    fn read_record(&self, at: u64) -> Result<Option<(Header, Vec<u8>)>, PersistenceError> {
        let header = read_checked(&self.file, at, HEADER_LEN, |bytes| {
            Header::decode(bytes.try_into().ok()?)
        })?;
        let Some(header) = header else {
            return Ok(None);
        };
        let payload_at = at + HEADER_LEN as u64;
        let is_payload = |bytes: &[u8]| {
            crc32fast::hash(bytes) == header.payload_crc || planted(Bug::ChecksumIgnored)
        };
        let payload = read_checked(
            &self.file,
            payload_at,
            header.payload_len as usize,
            |bytes| is_payload(bytes).then(|| bytes.to_vec()),
        )?;
        Ok(payload.map(|payload| (header, payload)))
    }

    /// What follows after the whole records must never have been acknowledged.
    fn make_sure_it_is_torn(&self, known: u64) -> Result<(), PersistenceError> {
        if self.end < known {
            return Err(corrupt("durable records are damaged", self.end));
        }
        let beyond = self.file.len().saturating_sub(self.end) as usize;
        let mut rest = vec![0; beyond];
        self.file
            .read_at(self.end, &mut rest)
            .map_err(unavailable)?;
        let begins_one = |(_, bytes): &(u64, &[u8])| *bytes == MAGIC;
        for (at, _) in (self.end..)
            .zip(rest.windows(MAGIC.len()))
            .filter(begins_one)
        {
            if let Some((header, _)) = self.read_record(at)?
                && header.synced > self.end
            {
                return Err(corrupt("a record before others is damaged", self.end));
            }
        }
        Ok(())
    }

    fn write_record(&self, at: u64, header: &Header, payload: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(at, &header.encode())?;
        let mut at = at + HEADER_LEN as u64;
        for piece in payload.chunks(WRITE_LEN_MAX) {
            self.file.write_at(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

impl Fence {
    /// Makes sure that the database has not been taken over.
    ///
    /// # Errors
    /// `LeaseLost` if it has; or if that cannot be found out.
    pub fn check(&self) -> Result<(), PersistenceError> {
        let (token, _) = read_lease(&self.lease)?;
        assert!(token >= self.token, "tokens only go up");
        if token > self.token && !planted(Bug::LeaseIgnored) {
            return Err(PersistenceError::LeaseLost(format!(
                "it holds token {token}, this server {}",
                self.token
            )));
        }
        Ok(())
    }
}

/// Reads bytes of the log that were durable.
pub fn read_location(file: &File, location: Location) -> Result<Vec<u8>, PersistenceError> {
    let Location { offset, len, crc } = location;
    let found = read_checked(file, offset, len as usize, |bytes| {
        (crc32fast::hash(bytes) == crc).then(|| bytes.to_vec())
    })?;
    found.ok_or_else(|| corrupt("a document is damaged", offset))
}

/// Opens the log for reading.
pub fn reader(disk: &Disk) -> Result<File, PersistenceError> {
    disk.open(LOG).map_err(unavailable)
}

/// Token, and durable length of the log at the time. The lease is written before anything else is, and as one sector:
/// if it is incomplete then the database was never opened.
fn read_lease(lease: &File) -> Result<(u64, u64), PersistenceError> {
    let mut bytes = [0; LEASE_LEN];
    if lease.read_at(0, &mut bytes).map_err(unavailable)? < LEASE_LEN {
        return Ok((0, 0));
    }
    let found = read_checked(lease, 0, LEASE_LEN, |bytes| {
        let (body, crc) = bytes.split_at(LEASE_LEN - 4);
        let (token, known) = body.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        let fits = crc == crc32fast::hash(body).to_le_bytes();
        fits.then(|| Some((number(token)?, number(known)?)))?
    })?;
    found.ok_or_else(|| corrupt("the lease is damaged", 0))
}

fn write_lease(lease: &File, token: u64, known: u64) -> Result<(), PersistenceError> {
    let mut bytes = Vec::with_capacity(LEASE_LEN);
    bytes.extend(token.to_le_bytes());
    bytes.extend(known.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    lease.write_at(0, &bytes).map_err(unavailable)
}

/// Reads bytes until `check` makes something of them. `None` if they are not there, or are bad each time.
fn read_checked<T>(
    file: &File,
    at: u64,
    len: usize,
    check: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, PersistenceError> {
    let mut bytes = vec![0; len];
    for _ in 0..READ_ATTEMPTS {
        if file.read_at(at, &mut bytes).map_err(unavailable)? < len {
            return Ok(None);
        }
        if let Some(found) = check(&bytes) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn unavailable(error: DiskError) -> PersistenceError {
    PersistenceError::Unavailable(error.to_string())
}

fn unknown(error: PersistenceError) -> PersistenceError {
    PersistenceError::Unknown(error.to_string())
}

fn corrupt(what: &str, at: u64) -> PersistenceError {
    PersistenceError::Corrupt(format!("{what}, at byte {at} of the log"))
}

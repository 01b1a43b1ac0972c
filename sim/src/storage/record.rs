//! Records of the log as bytes.
//!
//! ```text
//! header   "CLOG"  payload's length u32  sequence u64  token u64  synced u64  payload's CRC u32  header's CRC u32
//! payload  a kind, then what it holds; every document and every global's value has a CRC of its own
//! ```
//!
//! `synced` is the length of the log that was known to be durable when the record was written: if bytes before it
//! are bad, then that is damage and not a torn write. Integers are little-endian.

use concave_core::Timestamp;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexUpdate, KeyVersion, Revision, RevisionName, Superseded, TableId,
};
use concave_core::value::InternalId;

/// Bytes of a record's header.
pub const HEADER_LEN: usize = 40;
/// How a record begins.
pub const MAGIC: [u8; 4] = *b"CLOG";

const REVISIONS: u8 = 1;
const BACKFILL: u8 = 2;
const GLOBAL: u8 = 3;
const DELETE: u8 = 4;
const DELETE_INDEX: u8 = 5;

/// What a record holds, as far as it is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Documents are [`Location`]s.
    Revisions(Vec<Revision>),
    /// Index keys of older revisions.
    Backfill(Vec<BackfillEntry>),
    /// A global and its value, which is a [`Location`].
    Global(String, Vec<u8>),
    /// Versions that go.
    Delete(Superseded),
    /// An index, of whose keys so many go.
    DeleteIndex(IndexId, usize),
}

/// The beginning of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the payload, in bytes.
    pub payload_len: u32,
    /// The first record is number 1.
    pub sequence: u64,
    /// Whose record it is; never less than before.
    pub token: u64,
    /// Bytes of the log that were durable before.
    pub synced: u64,
    /// Checksum of the payload.
    pub payload_crc: u32,
}

/// Where in the log some bytes are, and their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Of the first byte.
    pub offset: u64,
    /// How many.
    pub len: u32,
    /// Checksum.
    pub crc: u32,
}

impl Header {
    /// As stored.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(MAGIC);
        bytes.extend(self.payload_len.to_le_bytes());
        bytes.extend(self.sequence.to_le_bytes());
        bytes.extend(self.token.to_le_bytes());
        bytes.extend(self.synced.to_le_bytes());
        bytes.extend(self.payload_crc.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.try_into().expect("the parts add up to the header")
    }

    /// `None` if these bytes are no header.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 4 };
        let header = Self {
            payload_len: reader.u32()?,
            sequence: reader.u64()?,
            token: reader.u64()?,
            synced: reader.u64()?,
            payload_crc: reader.u32()?,
        };
        (header.encode() == *bytes).then_some(header)
    }
}

impl Location {
    /// Bytes of the stored form.
    const LEN: usize = 16;

    /// As kept in place of what is there.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(self.offset.to_le_bytes());
        bytes.extend(self.len.to_le_bytes());
        bytes.extend(self.crc.to_le_bytes());
        bytes
    }

    /// What [`Self::encode`] gave.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut reader = Reader { bytes, at: 0 };
        let mut decode = || {
            Some(Self {
                offset: reader.u64()?,
                len: reader.u32()?,
                crc: reader.u32()?,
            })
        };
        decode().expect("locations come from memory")
    }
}

/// The payload of a batch.
pub fn revisions(revisions: &[Revision]) -> Vec<u8> {
    let mut out = vec![REVISIONS];
    put_len(&mut out, revisions.len());
    for revision in revisions {
        put_revision(&mut out, revision.ts, revision.table, revision.id);
        out.push(revision.prev_ts.is_some().into());
        out.extend(revision.prev_ts.unwrap_or_default().0.to_le_bytes());
        out.push(revision.document.is_some().into());
        if let Some(document) = &revision.document {
            put_checked(&mut out, document);
        }
        put_len(&mut out, revision.index_updates.len());
        for update in &revision.index_updates {
            out.extend(update.index.0.to_le_bytes());
            out.push(update.live.into());
            put_bytes(&mut out, &update.key);
        }
    }
    out
}

/// The payload of index keys for older revisions.
pub fn backfill(entries: &[BackfillEntry]) -> Vec<u8> {
    let mut out = vec![BACKFILL];
    put_len(&mut out, entries.len());
    for entry in entries {
        put_revision(&mut out, entry.ts, entry.table, entry.id);
        out.extend(entry.index.0.to_le_bytes());
        put_bytes(&mut out, &entry.key);
    }
    out
}

/// The payload of a global.
pub fn global(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = vec![GLOBAL];
    put_bytes(&mut out, name.as_bytes());
    put_checked(&mut out, value);
    out
}

/// The payload of versions that go.
pub fn delete(superseded: &Superseded) -> Vec<u8> {
    let mut out = vec![DELETE];
    put_len(&mut out, superseded.revisions.len());
    for name in &superseded.revisions {
        put_revision(&mut out, name.ts, name.table, name.id);
    }
    put_len(&mut out, superseded.keys.len());
    for version in &superseded.keys {
        out.extend(version.ts.0.to_le_bytes());
        out.extend(version.index.0.to_le_bytes());
        put_bytes(&mut out, &version.key);
    }
    out
}

/// The payload of keys of an index that go.
pub fn delete_index(index: IndexId, limit: usize) -> Vec<u8> {
    let mut out = vec![DELETE_INDEX];
    out.extend(index.0.to_le_bytes());
    put_len(&mut out, limit);
    out
}

/// Reads a payload that lies at `offset` in the log. `None` if it is not one.
pub fn decode(payload: &[u8], offset: u64) -> Option<Entry> {
    let reader = &mut Reader {
        bytes: payload,
        at: 0,
    };
    let entry = match reader.u8()? {
        REVISIONS => {
            let count = reader.u32()?;
            let revisions = (0..count).map(|_| reader.revision(offset));
            Entry::Revisions(revisions.collect::<Option<_>>()?)
        }
        BACKFILL => {
            let count = reader.u32()?;
            let entries = (0..count).map(|_| reader.backfill_entry());
            Entry::Backfill(entries.collect::<Option<_>>()?)
        }
        GLOBAL => {
            let name = String::from_utf8(reader.bytes()?.to_vec()).ok()?;
            Entry::Global(name, reader.location(offset)?)
        }
        DELETE => {
            let count = reader.u32()?;
            let revisions = (0..count).map(|_| reader.revision_name());
            let revisions = revisions.collect::<Option<_>>()?;
            let count = reader.u32()?;
            let keys = (0..count).map(|_| reader.key_version());
            let keys = keys.collect::<Option<_>>()?;
            Entry::Delete(Superseded { revisions, keys })
        }
        DELETE_INDEX => Entry::DeleteIndex(IndexId(reader.u32()?), reader.u32()? as usize),
        _ => return None,
    };
    (reader.at == payload.len()).then_some(entry)
}

fn put_revision(out: &mut Vec<u8>, ts: Timestamp, table: TableId, id: InternalId) {
    out.extend(ts.0.to_le_bytes());
    out.extend(table.0.to_le_bytes());
    out.extend(id.0);
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("records are small");
    out.extend(len.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend(bytes);
}

fn put_checked(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(crc32fast::hash(bytes).to_le_bytes());
    put_bytes(out, bytes);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    /// Where bytes with a checksum are, given where the payload is.
    fn location(&mut self, payload: u64) -> Option<Vec<u8>> {
        let crc = self.u32()?;
        let len = self.u32()?;
        let offset = payload + self.at as u64;
        self.take(len as usize)?;
        Some(Location { offset, len, crc }.encode())
    }

    fn revision(&mut self, payload: u64) -> Option<Revision> {
        let ts = Timestamp(self.u64()?);
        let table = TableId(self.u32()?);
        let id = InternalId(self.array()?);
        let has_previous = self.bool()?;
        let previous = Timestamp(self.u64()?);
        let document = match self.bool()? {
            true => Some(self.location(payload)?),
            false => None,
        };
        let count = self.u32()?;
        let index_updates = (0..count).map(|_| self.index_update());
        Some(Revision {
            ts,
            table,
            id,
            prev_ts: has_previous.then_some(previous),
            document,
            index_updates: index_updates.collect::<Option<_>>()?,
        })
    }

    fn index_update(&mut self) -> Option<IndexUpdate> {
        Some(IndexUpdate {
            index: IndexId(self.u32()?),
            live: self.bool()?,
            key: self.bytes()?.to_vec(),
        })
    }

    fn revision_name(&mut self) -> Option<RevisionName> {
        Some(RevisionName {
            ts: Timestamp(self.u64()?),
            table: TableId(self.u32()?),
            id: InternalId(self.array()?),
        })
    }

    fn key_version(&mut self) -> Option<KeyVersion> {
        Some(KeyVersion {
            ts: Timestamp(self.u64()?),
            index: IndexId(self.u32()?),
            key: self.bytes()?.to_vec(),
        })
    }

    fn backfill_entry(&mut self) -> Option<BackfillEntry> {
        Some(BackfillEntry {
            ts: Timestamp(self.u64()?),
            table: TableId(self.u32()?),
            id: InternalId(self.array()?),
            index: IndexId(self.u32()?),
            key: self.bytes()?.to_vec(),
        })
    }
}

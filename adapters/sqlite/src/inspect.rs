//! Finding damage without reading the whole database, and without changing a byte of it.
//!
//! Offsets are those of the SQLite file format (sqlite.org/fileformat2.html).

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::files::Files;

/// Bytes of the database header.
const HEADER_BYTES: usize = 100;
/// Bytes of the header of a write-ahead log, and of each of its frames.
const WAL_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What is wrong with the head of a database file, if anything.
pub(crate) fn damage_in_header(files: &dyn Files, path: &Path) -> io::Result<Option<String>> {
    let mut header = Vec::new();
    files
        .open(path)?
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)?;
    Ok(if header.is_empty() {
        Some("the file is empty".into())
    } else if header.len() < HEADER_BYTES {
        Some(format!("the file ends after {} bytes", header.len()))
    } else if &header[..16] != b"SQLite format 3\0" {
        Some("it does not begin like a SQLite database".into())
    } else if !matches!(page_bytes(&header), 512..=65_536) {
        Some("its page size is impossible".into())
    } else {
        None
    })
}

/// The page size in a database header: a power of two, where 1 stands for 65,536. 0 if it is not one.
fn page_bytes(header: &[u8]) -> u64 {
    match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes if bytes.is_power_of_two() => u64::from(bytes),
        _ => 0,
    }
}

/// How many of the first `pages` pages of `page_bytes` bytes are in neither the file nor its write-ahead log.
///
/// Recovery after a crash may find a file that is shorter than the database, with the rest in the log; only pages
/// that are in neither are lost.
pub(crate) fn pages_missing(
    files: &dyn Files,
    path: &Path,
    wal: &Path,
    pages: u64,
    page_bytes: u64,
) -> io::Result<u64> {
    let held = files.open(path)?.seek(SeekFrom::End(0))? / page_bytes;
    if held >= pages {
        return Ok(0);
    }
    let logged = match files.open(wal) {
        Ok(file) => pages_in_wal(file, page_bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    let saved = logged.range(held + 1..=pages).count() as u64;
    Ok(pages - held - saved)
}

/// The numbers of the pages in a write-ahead log's current run of frames: those with the salts of its header.
fn pages_in_wal(mut wal: impl Read + Seek, page_bytes: u64) -> io::Result<BTreeSet<u64>> {
    let mut pages = BTreeSet::new();
    let mut header = [0; WAL_HEADER_BYTES];
    if !read_whole(&mut wal, &mut header)? {
        return Ok(pages);
    }
    let salts = &header[16..24];
    let mut at = WAL_HEADER_BYTES as u64;
    let mut frame = [0; FRAME_HEADER_BYTES];
    while read_whole(&mut wal, &mut frame)? && &frame[8..16] == salts {
        let page = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        pages.insert(u64::from(page));
        at += FRAME_HEADER_BYTES as u64 + page_bytes;
        wal.seek(SeekFrom::Start(at))?;
    }
    Ok(pages)
}

/// Fills `buffer`; `false` if the input ends before.
fn read_whole(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

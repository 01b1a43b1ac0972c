use std::collections::BTreeSet;

use super::*;

fn disk(seed: u64) -> Disk {
    Disk::new(Rng::with_seed(seed), Duration::ZERO)
}

/// A disk on which one fault strikes always.
fn faulty(seed: u64, fault: Fault) -> Disk {
    let disk = disk(seed);
    let mut settings = Settings::draw(seed);
    settings.faults = vec![(fault, 1.0)];
    disk.set_faults(Some(settings));
    disk
}

fn all(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.len() as usize];
    assert_eq!(file.read_at(0, &mut bytes), Ok(bytes.len()));
    bytes
}

#[test]
fn reads_see_what_was_written() {
    let disk = disk(1);
    assert!(!disk.exists("a"));
    let file = disk.open("a").unwrap();
    file.write_at(3, b"abc").unwrap();
    assert_eq!(all(&file), b"\0\0\0abc");
    file.truncate(4).unwrap();
    file.write_at(0, b"xyz").unwrap();
    assert_eq!(all(&disk.open("a").unwrap()), b"xyza");
    let mut two = [0; 2];
    assert_eq!(file.read_at(3, &mut two), Ok(1));
    assert_eq!(file.read_at(9, &mut two), Ok(0));
    disk.delete("a").unwrap();
    assert_eq!(disk.delete("a"), Err(DiskError::Missing));
    assert_eq!(all(&file), b"xyza", "an open file outlives its name");
    assert!(disk.open("a").unwrap().is_empty());
}

#[test]
fn a_crash_keeps_what_was_synced_and_anything_of_the_rest() {
    let mut seen = BTreeSet::new();
    let mut report = Report::default();
    for seed in 0..400 {
        let disk = disk(seed);
        let file = disk.open("a").unwrap();
        file.write_at(0, &[1; 2048]).unwrap();
        file.sync().unwrap();
        assert!(!disk.has_unsynced());
        file.write_at(0, &[2; 512]).unwrap();
        file.write_at(512, &[3; 1024]).unwrap();
        file.truncate(1800).unwrap();
        assert!(disk.has_unsynced());
        disk.crash();
        assert_eq!(file.read_at(0, &mut [0]), Err(DiskError::Crashed));
        assert_eq!(file.sync(), Err(DiskError::Crashed));
        let bytes = all(&disk.open("a").unwrap());
        assert!(
            bytes
                .chunks(512)
                .all(|sector| sector.iter().all(|byte| *byte == sector[0])),
            "sectors are whole"
        );
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        seen.insert((bytes.len(), sectors));
        report.add(&disk.report());
    }
    // Three sectors that are each old or new, and two lengths: torn, and out of order.
    assert_eq!(seen.len(), 16, "{seen:?}");
    for fault in [
        Fault::UnsyncedKept,
        Fault::UnsyncedLost,
        Fault::Reordered,
        Fault::TornWrite,
    ] {
        assert!(report.faults.contains_key(&fault), "{fault:?}");
    }
}

#[test]
fn a_failed_sync_poisons_the_handles_and_loses_anything() {
    let mut survived = BTreeSet::new();
    for seed in 0..100 {
        let disk = faulty(seed, Fault::SyncFailed);
        let file = disk.open("a").unwrap();
        file.write_at(0, b"a").unwrap();
        file.write_at(1, b"b").unwrap();
        assert_eq!(file.sync(), Err(DiskError::SyncFailed));
        disk.set_faults(None);
        assert_eq!(file.sync(), Err(DiskError::SyncFailed));
        assert_eq!(file.write_at(0, b"c"), Err(DiskError::SyncFailed));
        assert_eq!(file.truncate(0), Err(DiskError::SyncFailed));
        let anew = disk.open("a").unwrap();
        anew.sync().unwrap();
        disk.crash();
        survived.insert(all(&disk.open("a").unwrap()));
    }
    let expected = [&b""[..], b"a", b"ab"].map(<[u8]>::to_vec);
    assert_eq!(survived, expected.into(), "in order, as nothing else is on");
}

#[test]
fn after_a_failed_sync_reads_may_see_what_is_lost() {
    let mut settings = Settings::draw(0);
    settings.faults = vec![(Fault::SyncFailed, 1.0), (Fault::SyncForgotten, 1.0)];
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        disk.set_faults(Some(settings.clone()));
        let file = disk.open("a").unwrap();
        file.write_at(0, b"a").unwrap();
        file.sync().unwrap_err();
        disk.set_faults(None);
        let anew = disk.open("a").unwrap();
        anew.sync().unwrap();
        let before = all(&anew);
        disk.crash();
        seen.insert((before, all(&disk.open("a").unwrap())));
    }
    let pair = |before: &[u8], after: &[u8]| (before.to_vec(), after.to_vec());
    let expected = [pair(b"", b""), pair(b"a", b"a"), pair(b"a", b"")];
    assert_eq!(seen, expected.into());
}

#[test]
fn faults_strike_and_end() {
    let disk = faulty(1, Fault::DiskFull);
    let file = disk.open("a").unwrap();
    assert_eq!(file.write_at(0, &[1; 100]), Err(DiskError::Full));
    assert!(file.len() < 100, "cut short");
    let disk = faulty(2, Fault::ReadFailed);
    let file = disk.open("a").unwrap();
    file.write_at(0, &[0; 100]).unwrap();
    assert_eq!(file.read_at(0, &mut [0; 100]), Err(DiskError::Io));
    let flips = faulty(3, Fault::BitFlip);
    let file = flips.open("a").unwrap();
    file.write_at(0, &[0; 100]).unwrap();
    assert_eq!(
        all(&file).iter().map(|byte| byte.count_ones()).sum::<u32>(),
        1
    );
    flips.set_faults(None);
    assert_eq!(all(&file), [0; 100], "the bytes themselves are well");
    let lengths: BTreeSet<_> = (0..100)
        .map(|seed| {
            let disk = faulty(seed, Fault::WriteFailed);
            let file = disk.open("a").unwrap();
            assert_eq!(file.write_at(0, &[1; 1024]), Err(DiskError::Io));
            file.len()
        })
        .collect();
    assert_eq!(lengths, [0, 512, 1024].into());
    assert!(faulty(4, Fault::OpenFailed).open("a").is_err());
}

#[test]
fn operations_cost_time() {
    let disk = Disk::new(Rng::with_seed(1), Duration::from_millis(1));
    let file = disk.open("a").unwrap();
    file.sync().unwrap();
    let spent = disk.take_delay();
    assert!(spent > Duration::ZERO && spent < Duration::from_millis(2));
    assert_eq!(disk.take_delay(), Duration::ZERO);
}

#[test]
fn a_strike_hits_the_operation_it_is_meant_for() {
    for strike in Strike::ALL {
        for operation in 0..3 {
            let disk = disk(operation);
            disk.strike_at(operation, strike);
            let file = disk.open("a").unwrap();
            let results = [
                file.write_at(0, &[1; 1024]),
                file.truncate(512),
                file.sync(),
            ];
            let first = results.iter().position(Result::is_err).unwrap();
            assert_eq!(first as u64, operation);
            let crashed = strike != Strike::Fail;
            assert_eq!(disk.crashes(), u64::from(crashed));
            let anew = disk.open("a").unwrap();
            anew.write_at(0, b"a").unwrap();
            anew.sync().unwrap();
            match (strike, operation) {
                (Strike::CrashBefore, 0) => assert_eq!(anew.len(), 1),
                (Strike::CrashAfter, 2) => assert_eq!(anew.len(), 512),
                _ => assert!([1, 512, 1024].contains(&anew.len())),
            }
        }
    }
}

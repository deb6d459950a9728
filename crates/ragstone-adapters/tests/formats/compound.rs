//! A mail as Outlook saves it, in a compound file of the plainest kind (MS-CFB, version 3).

const SECTOR: usize = 512;
const END_OF_CHAIN: u32 = 0xffff_fffe;
const FREE: u32 = 0xffff_ffff;
const FAT_SECTOR: u32 = 0xffff_fffd;
const NONE: u32 = 0xffff_ffff;

/// An entry of the directory: its name, its kind (1 storage, 2 stream, 5 root), child, next sibling, and bytes.
struct Entry {
    name: String,
    kind: u8,
    child: u32,
    next: u32,
    bytes: Vec<u8>,
}

fn stream(name: &str, next: u32, bytes: &[u8]) -> Entry {
    Entry {
        name: name.into(),
        kind: 2,
        child: NONE,
        next,
        bytes: bytes.into(),
    }
}

fn unicode(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A mail with a text and a table attached.
pub fn msg() -> Vec<u8> {
    let storage = |name: &str, kind: u8, child: u32, next: u32| Entry {
        name: name.into(),
        kind,
        child,
        next,
        bytes: Vec::new(),
    };
    compound(&[
        storage("Root Entry", 5, 1, NONE),
        stream("__properties_version1.0", 2, &[0; 32]),
        stream("__substg1.0_0037001F", 3, &unicode("Grüße from the mill")),
        stream("__substg1.0_0C1A001F", 4, &unicode("Ada")),
        stream("__substg1.0_1000001F", 5, &unicode("The wheel turns.\r\nAll day.")),
        storage("__attach_version1.0_#00000000", 1, 6, NONE),
        stream("__substg1.0_3707001F", 7, &unicode("cards.csv")),
        stream("__substg1.0_37010102", NONE, b"card,count\nred,7\n"),
    ])
}

/// Sector 0 is the allocation table, then the directory, then the streams.
fn compound(entries: &[Entry]) -> Vec<u8> {
    let directory_sectors = (entries.len() * 128).div_ceil(SECTOR) as u32;
    let mut fat = vec![FAT_SECTOR];
    let mut chain = |sectors: u32| {
        let first = fat.len() as u32;
        fat.extend((1..sectors).map(|n| first + n));
        fat.push(END_OF_CHAIN);
        first
    };
    chain(directory_sectors);
    let starts: Vec<u32> = entries
        .iter()
        .map(|entry| match entry.bytes.len() {
            0 => END_OF_CHAIN,
            length => chain(length.div_ceil(SECTOR) as u32),
        })
        .collect();
    fat.resize(SECTOR / 4, FREE);
    let mut file = header();
    file.extend(fat.iter().flat_map(|next| next.to_le_bytes()));
    for (entry, start) in entries.iter().zip(&starts) {
        file.extend(directory_entry(entry, *start));
    }
    pad(&mut file);
    for entry in entries {
        file.extend(&entry.bytes);
        pad(&mut file);
    }
    file
}

fn header() -> Vec<u8> {
    let mut header = vec![0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    put(24, &0x3e_u16.to_le_bytes());
    put(26, &3_u16.to_le_bytes());
    put(28, &0xfffe_u16.to_le_bytes());
    put(30, &9_u16.to_le_bytes());
    put(32, &6_u16.to_le_bytes());
    put(44, &1_u32.to_le_bytes());
    put(48, &1_u32.to_le_bytes());
    put(56, &4096_u32.to_le_bytes());
    put(60, &END_OF_CHAIN.to_le_bytes());
    put(68, &END_OF_CHAIN.to_le_bytes());
    for slot in 1..109 {
        put(76 + 4 * slot, &FREE.to_le_bytes());
    }
    put(76, &0_u32.to_le_bytes());
    header
}

fn directory_entry(entry: &Entry, start: u32) -> Vec<u8> {
    let mut row = vec![0; 128];
    let name = unicode(&entry.name);
    row[..name.len()].copy_from_slice(&name);
    row[64..66].copy_from_slice(&(name.len() as u16 + 2).to_le_bytes());
    row[66] = entry.kind;
    row[67] = 1;
    for (at, id) in [(68, NONE), (72, entry.next), (76, entry.child), (116, start)] {
        row[at..at + 4].copy_from_slice(&id.to_le_bytes());
    }
    row[120..124].copy_from_slice(&(entry.bytes.len() as u32).to_le_bytes());
    row
}

fn pad(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(SECTOR), 0);
}

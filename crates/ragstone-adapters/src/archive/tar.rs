//! Headers of tar entries in the ustar format (POSIX.1-1988), which every tool reads.

/// Block size in bytes; headers and padding fill whole blocks.
pub const BLOCK: usize = 512;
/// Zero bytes that end an archive.
pub const ENDING: usize = 2 * BLOCK;
/// Largest entry in bytes: eleven octal digits.
pub const MAX_SIZE: u64 = (1 << 33) - 1;

const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const OWNER: std::ops::Range<usize> = 108..116;
const GROUP: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const TIME: std::ops::Range<usize> = 136..148;
const SUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;

/// Encodes the header of a file of `size` bytes. Names are short ASCII; nothing about the machine is written.
pub fn encode_header(name: &str, size: u64) -> [u8; BLOCK] {
    debug_assert!(name.len() < NAME.len() && size <= MAX_SIZE);
    let mut block = [0; BLOCK];
    let mut put = |range: std::ops::Range<usize>, text: &str| {
        block[range.start..range.start + text.len()].copy_from_slice(text.as_bytes());
    };
    put(NAME, name);
    put(MODE, "0000600");
    put(OWNER, "0000000");
    put(GROUP, "0000000");
    put(SIZE, &format!("{size:011o}"));
    put(TIME, "00000000000");
    put(MAGIC, "ustar\u{0}00");
    block[KIND] = b'0';
    let sum = checksum(&block);
    block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Decodes name and size of a header; `None` if it is not one that [`encode_header`] writes.
pub fn decode_header(block: &[u8; BLOCK]) -> Option<(String, u64)> {
    let text = |range: std::ops::Range<usize>| {
        let field = block[range].split(|byte| *byte == 0).next()?;
        std::str::from_utf8(field).ok()
    };
    let number = |range| u64::from_str_radix(text(range)?.trim(), 8).ok();
    let fits = &block[MAGIC] == b"ustar\x0000" && block[KIND] == b'0';
    let (name, size) = (text(NAME)?.to_owned(), number(SIZE)?);
    (fits && number(SUM)? == checksum(block) && encode_header(&name, size) == *block).then_some((name, size))
}

/// Bytes between the end of an entry of `size` bytes and the next block.
pub fn padding_bytes(size: u64) -> usize {
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

fn checksum(block: &[u8; BLOCK]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| u64::from(if SUM.contains(&at) { b' ' } else { *byte });
    block.iter().enumerate().map(byte).sum()
}

//! `Export`: the file or the memory that is served.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::io::Errno;

/// Zeroes are written in pieces of this size if the file system cannot make a zeroed range.
static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

/// The file or memory that is served. All connections share it, so a flush covers the writes of
/// all.
///
/// The caller checks ranges. A file that shrinks meanwhile causes errors.
#[derive(Debug)]
pub(crate) struct Export {
    file: File,
    size: u64,
    in_memory: bool,
}

impl Export {
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        // The end of the file is also the size of a block device; metadata is not.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size, in_memory: false })
    }

    /// Memory of `size` bytes. The kernel allocates a page when it is first written.
    pub(crate) fn memory(size: u64) -> io::Result<Self> {
        let file = File::from(memfd_create("nbd_server", MemfdFlags::CLOEXEC)?);
        file.set_len(size)?;
        Ok(Self { file, size, in_memory: true })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn contains(&self, offset: u64, length: u32) -> bool {
        offset.checked_add(length.into()).is_some_and(|end| end <= self.size)
    }

    /// Whether operations may wait for a device.
    pub(crate) fn may_block(&self) -> bool {
        !self.in_memory
    }

    pub(crate) fn read(&self, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        let mut data = vec![0; length as usize];
        self.file.read_exact_at(&mut data, offset)?;
        Ok(data)
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    /// Makes everything written so far durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// A hint that the range is not needed: it then reads as zeroes, or as before.
    pub(crate) fn trim(&self, offset: u64, length: u32) -> io::Result<()> {
        self.allocate(FallocateFlags::PUNCH_HOLE, offset, length).map(drop)
    }

    /// Writes zeroes. With `keep_allocated`, later writes to the range do not run out of space.
    pub(crate) fn write_zeroes(&self, offset: u64, length: u32, keep_allocated: bool) -> io::Result<()> {
        let way = if keep_allocated { FallocateFlags::ZERO_RANGE } else { FallocateFlags::PUNCH_HOLE };
        if self.allocate(way, offset, length)? {
            return Ok(());
        }
        let end = offset + u64::from(length);
        (offset..end).step_by(ZEROES.len()).try_for_each(|at| {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            self.file.write_all_at(&ZEROES[..rest.min(ZEROES.len())], at)
        })
    }

    /// Calls fallocate(2); false if the file system does not support the operation.
    fn allocate(&self, way: FallocateFlags, offset: u64, length: u32) -> io::Result<bool> {
        if length == 0 {
            return Ok(true);
        }
        loop {
            match fallocate(&self.file, way | FallocateFlags::KEEP_SIZE, offset, length.into()) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                // Ranges are in bounds, so INVAL means that a block device needs alignment.
                Err(Errno::OPNOTSUPP | Errno::NODEV | Errno::INVAL) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

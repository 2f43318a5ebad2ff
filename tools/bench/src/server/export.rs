//! The device behind the embedded server.

use std::sync::{PoisonError, RwLock};

use super::ExportKind;

/// More would rather be a mistake in the command line than a benchmark.
const MAX_MEMORY: u64 = 16 << 30;

#[derive(Debug)]
pub(super) enum Export {
    Null { size: u64 },
    Memory(RwLock<Vec<u8>>),
}

impl Export {
    pub(super) fn new(kind: ExportKind, size: u64) -> Result<Self, String> {
        match kind {
            ExportKind::Null => Ok(Self::Null { size }),
            ExportKind::Memory => match usize::try_from(size) {
                // Zeroed pages come from the kernel as they are touched.
                Ok(length) if size <= MAX_MEMORY => Ok(Self::Memory(RwLock::new(vec![0; length]))),
                _ => Err(format!("a memory export holds at most {MAX_MEMORY} bytes")),
            },
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Null { size } => *size,
            Self::Memory(data) => data.read().unwrap_or_else(PoisonError::into_inner).len() as u64,
        }
    }

    pub(super) fn contains(&self, offset: u64, length: u32) -> bool {
        offset.checked_add(length.into()).is_some_and(|end| end <= self.size())
    }

    /// Stores `data`; the caller has checked the range.
    pub(super) fn write(&self, offset: usize, data: &[u8]) {
        if let Self::Memory(memory) = self {
            let mut memory = memory.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(room) = memory.get_mut(offset..offset + data.len()) {
                room.copy_from_slice(data);
            }
        }
    }

    /// Appends what is stored; the caller has checked the range.
    pub(super) fn read(&self, offset: usize, length: usize, out: &mut Vec<u8>) {
        match self {
            Self::Null { .. } => out.resize(out.len() + length, 0),
            Self::Memory(memory) => {
                let memory = memory.read().unwrap_or_else(PoisonError::into_inner);
                out.extend_from_slice(memory.get(offset..offset + length).unwrap_or_default());
            }
        }
    }
}

//! The size of batches (R7).

/// Plaintext bytes to seal at a time. The size doubles while the transport takes whole batches, and
/// falls back to the minimum when the transport pushes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchSize {
    current: usize,
    min: usize,
    max: usize,
}

impl BatchSize {
    pub(crate) fn new(min: usize, max: usize) -> Self {
        Self { current: min, min, max }
    }

    pub(crate) fn current(&self) -> usize {
        self.current
    }

    /// The transport took a full batch without pushing back.
    pub(crate) fn taken_whole(&mut self) {
        self.current = self.current.saturating_mul(2).min(self.max);
    }

    pub(crate) fn pushed_back(&mut self) {
        self.current = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_falls_back_to_the_minimum() {
        let mut size = BatchSize::new(64, 200);
        let mut seen = vec![size.current()];
        for _ in 0..3 {
            size.taken_whole();
            seen.push(size.current());
        }
        size.pushed_back();
        seen.push(size.current());
        assert_eq!(seen, [64, 128, 200, 200, 64]);
    }
}

//! The only chance in a story: a small generator that its seed decides.

/// `SplitMix64`: any seed is a good one, and the same seed is the same story for ever.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The chances of a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        it ^ (it >> 31)
    }

    /// 0 up to, but not including, `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }

    /// Once in `times`; never for 0.
    pub fn once_in(&mut self, times: u64) -> bool {
        times != 0 && self.roll(times) == 0
    }

    /// 0 up to, but not including, `end`.
    pub fn below(&mut self, end: i64) -> i64 {
        self.roll(end.max(1).unsigned_abs()).cast_signed()
    }

    /// One of these, of which there is one at least.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A place in a list of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.roll(length as u64)).expect("an index")
    }
}

//! Dice of a fleet.

/// Numbers that look thrown, and follow from the seed (`SplitMix64`).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A GUID of the next two.
    pub fn guid(&mut self) -> String {
        let (high, low) = (self.roll(), self.roll());
        let (a, b, c) = (high >> 32, high >> 16 & 0xFFFF, high & 0xFFF);
        format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", 0x8000 | low >> 50, low & 0xFFFF_FFFF_FFFF)
    }
}

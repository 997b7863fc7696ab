//! Numbers that look drawn and are not: the same seed and purpose give the same numbers for ever.

/// SplitMix64. Each purpose has its own stream, so that what one draws moves nothing of the others.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed` for one purpose.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.draw();
        Self(random.draw())
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// From `least` to `most`, both possible.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True so many times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them; the first if there is but one. The list is never empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let some = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..4).map(|_| random.draw()).collect::<Vec<_>>()
        };
        assert_eq!(some(1, 1), some(1, 1));
        assert_ne!(some(1, 1), some(1, 2));
        assert_ne!(some(1, 1), some(2, 1));
        let mut random = Random::new(7, 7);
        assert!((0..1_000).all(|_| (3..=5).contains(&random.between(3, 5))));
    }
}

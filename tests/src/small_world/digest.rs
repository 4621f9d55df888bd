//! Digests of states. Times count by their distance from now alone: a state is the same at any hour.

use super::world::world_ms;
use jiff::Timestamp;
use serde_json::Value;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Hashes fast, and well enough that a billion states are told apart: one word is mixed in by one wide product.
#[derive(Debug, Default)]
pub(super) struct Mixer(u64);

/// For what is a digest already.
#[derive(Debug, Default)]
pub(super) struct Identity(u64);

/// A set or map whose keys are digests.
pub(super) type ByDigest = BuildHasherDefault<Identity>;

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        folded(self.0, 0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = folded(self.0.rotate_left(23) ^ word ^ 0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are digests");
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// The two halves of a product, as one.
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    let half = |it: u128| u64::try_from(it & u128::from(u64::MAX)).expect("it is half as long");
    let [low, high] = [product, product >> 64].map(half);
    low ^ high
}

pub(super) fn digest_of(what: impl Hash) -> u64 {
    let mut mixer = Mixer::default();
    what.hash(&mut mixer);
    mixer.finish()
}

/// What a value says, and the times in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape {
    says: u64,
    times: Vec<i64>,
}

impl Shape {
    pub(super) fn of(value: &Value) -> Self {
        let mut mixer = Mixer::default();
        let mut times = vec![];
        take_in(value, &mut mixer, &mut times);
        Self { says: mixer.finish(), times }
    }

    /// Its digest, with each time as its distance from this one.
    pub(super) fn from(&self, now: i64) -> u64 {
        let mut mixer = Mixer::default();
        self.says.hash(&mut mixer);
        self.times.iter().for_each(|it| (it - now).hash(&mut mixer));
        mixer.finish()
    }
}

fn take_in(value: &Value, mixer: &mut Mixer, times: &mut Vec<i64>) {
    match value {
        Value::Null => 0_u8.hash(mixer),
        Value::Bool(it) => (1_u8, it).hash(mixer),
        Value::Number(it) => (2_u8, it.to_string()).hash(mixer),
        Value::String(it) => match time(it) {
            Some(at) => {
                3_u8.hash(mixer);
                times.push(world_ms(at));
            }
            None => (4_u8, it).hash(mixer),
        },
        Value::Array(all) => {
            (5_u8, all.len()).hash(mixer);
            for it in all {
                take_in(it, mixer, times);
            }
        }
        Value::Object(all) => {
            (6_u8, all.len()).hash(mixer);
            for (name, it) in all {
                name.hash(mixer);
                take_in(it, mixer, times);
            }
        }
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let is_like_one = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T');
    is_like_one.then(|| text.parse().ok()).flatten()
}

//! Streaming: what is hot first, then the machine runs, then the rest; now and then a program is blocked on a chunk.

use std::collections::BTreeSet;

use ramboot_init::pick::Chunks;
use ramboot_init::plan::Order;
use ramboot_wire::paths::Resource;
use ramboot_wire::profile::{Profile, Want};
use ramboot_wire::{Base, ChunkList};
use tokio::time::sleep;

use crate::fault::Fault;
use crate::image::{HOT, REST};
use crate::machine::Machine;
use crate::plan::Hot;
use crate::random::Random;
use crate::stage::Question;

impl Machine {
    pub(crate) async fn hot_first(
        &self,
        list: &ChunkList,
        base: &Base,
        hot: &Hot,
    ) -> Result<(), Fault> {
        let profile = self.tries(async || self.profile(list, base).await).await?;
        let hot = match (&profile, hot) {
            (Some(known), _) => of_profile(known),
            (None, Hot::Profile(bytes)) => {
                let known = Profile::parse(list.size(), bytes);
                of_profile(&known.ok_or(Fault::Profile(bytes.len()))?)
            }
            (None, Hot::Percent(percent)) => {
                scattered(list.count(), *percent, self.world.plan.seed)
            }
        };
        let all = || Chunks::new(Order::file(list.count()));
        let (mut first, mut rest) = (all(), all());
        for index in 0..list.count() {
            let there = if hot.contains(&index) {
                &mut rest
            } else {
                &mut first
            };
            there.done(index);
        }
        self.fetch(list, base, HOT, first, &[]).await?;
        self.log.borrow_mut().runs = Some(self.world.now());
        let cold: Vec<u64> = (0..list.count()).filter(|i| !hot.contains(i)).collect();
        let mut demanded = BTreeSet::new();
        for _ in 0..self.world.plan.demands {
            demanded.extend(cold.get(self.below(cold.len())).copied());
        }
        let demanded = Vec::from_iter(demanded);
        self.fetch(list, base, REST, rest, &demanded).await
    }

    /// What the manager knows of the image.
    async fn profile(&self, list: &ChunkList, base: &Base) -> Result<Option<Profile>, Fault> {
        let request = self.request(base, &Resource::Profile(list.id()), "");
        let (mut connection, head) = loop {
            let (connection, head) = self
                .ask(&mut None, base.addr, &request, Question::Boot)
                .await?;
            match head.status {
                200 if head.length == Profile::encoded_len(list.size()) => {
                    break (connection, head);
                }
                404 => return Ok(None),
                503 if head.retry_after.is_some() => sleep(self.told_to_wait(&head)).await,
                status => return Err(Fault::Status(status, "the profile")),
            }
        };
        let mut bytes = Vec::new();
        let keep = |part: &[u8]| bytes.extend_from_slice(part);
        connection.read(&self.world, head.length, keep).await?;
        Ok(Profile::parse(list.size(), &bytes))
    }
}

/// Chunk 0 and the last one hold a squashfs's superblock and tables.
fn ends(count: u64) -> BTreeSet<u64> {
    BTreeSet::from([0, count.saturating_sub(1)])
}

fn of_profile(profile: &Profile) -> BTreeSet<u64> {
    let wants = (0..).zip(profile.wants());
    let hot = wants.filter(|(_, want)| matches!(want, Want::Hot(_)));
    let mut chunks = ends(profile.wants().len() as u64);
    chunks.extend(hot.map(|(index, _)| index));
    chunks
}

/// So many of a hundred, in runs of one to eight, the same for all machines.
fn scattered(count: u64, percent: u8, seed: u64) -> BTreeSet<u64> {
    let wanted = (count * u64::from(percent.min(100))).div_ceil(100);
    let (mut chunks, mut random) = (ends(count), Random::new(seed, 0));
    while (chunks.len() as u64) < wanted {
        let first = random.next() % count;
        let run = 1 + random.next() % 8;
        for index in first..count.min(first + run) {
            if (chunks.len() as u64) < wanted {
                chunks.insert(index);
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_set_is_of_its_size_and_lies_everywhere() {
        let chunks = scattered(800, 17, 1);
        assert_eq!(chunks.len(), 136);
        assert!(chunks.contains(&0) && chunks.contains(&799));
        for eighth in 0..8 {
            assert!(chunks.range(eighth * 100..(eighth + 1) * 100).count() > 3);
        }
        assert_eq!(chunks, scattered(800, 17, 1));
        assert_ne!(chunks, scattered(800, 17, 2));
        assert_eq!(scattered(9, 100, 1).len(), 9);
        assert_eq!(scattered(1, 0, 1).len(), 1);
    }

    #[test]
    fn a_profile_says_what_is_hot() {
        let wants = vec![Want::Cold, Want::Hot(3), Want::Warm(0), Want::Cold];
        assert_eq!(of_profile(&Profile::new(wants)), BTreeSet::from([0, 1, 3]));
    }
}

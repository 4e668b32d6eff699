//! Streaming: what is hot first, then the machine runs, then the rest; now and then a program is blocked on a chunk.

use std::collections::BTreeSet;

use ramboot_fetch::order::{Order, Tier, Waits};
use ramboot_fetch::schedule::Chunks;
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
        let profile = match (profile, hot) {
            (Some(known), _) => known,
            (None, Hot::Profile(bytes)) => {
                let known = Profile::parse(list.size(), bytes);
                known.ok_or(Fault::Profile(bytes.len()))?
            }
            (None, Hot::Percent(percent)) => {
                scattered(list.count(), *percent, self.world.plan.seed)
            }
        };
        // As `/init` has it.
        let order = Order::stream(list.count(), Waits::Hot, Some(&profile), &(0..0));
        let is_hot = |index: u64| order.tier(index) == Some(Tier::Gate);
        let first = Chunks::new(order.clone().gate());
        let rest = Chunks::new(order.clone().only(|index| !is_hot(index)));
        self.fetch(list, base, HOT, first, &[]).await?;
        {
            let mut log = self.log.borrow_mut();
            log.runs = Some(self.world.now());
            log.received_when_it_runs = self.world.received.get();
        }
        let cold: Vec<u64> = (0..list.count()).filter(|index| !is_hot(*index)).collect();
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

/// So many of a hundred are hot, in runs of one to eight, the same for all machines; the first chunk and the last one always are.
fn scattered(count: u64, percent: u8, seed: u64) -> Profile {
    let wanted = (count * u64::from(percent.min(100))).div_ceil(100);
    let mut chunks = BTreeSet::from([0, count.saturating_sub(1)]);
    let mut random = Random::new(seed, 0);
    while (chunks.len() as u64) < wanted {
        let first = random.next() % count;
        let run = 1 + random.next() % 8;
        for index in first..count.min(first + run) {
            if (chunks.len() as u64) < wanted {
                chunks.insert(index);
            }
        }
    }
    let want = |index| match chunks.contains(&index) {
        true => Want::Hot(0),
        false => Want::Cold,
    };
    Profile::new((0..count).map(want).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_set_is_of_its_size_and_lies_everywhere() {
        let hot = |count, percent, seed| -> BTreeSet<u64> {
            let profile = scattered(count, percent, seed);
            let wants = (0..).zip(profile.wants().to_vec());
            let hot = wants.filter(|(_, want)| matches!(want, Want::Hot(_)));
            hot.map(|(index, _)| index).collect()
        };
        let chunks = hot(800, 17, 1);
        assert_eq!(chunks.len(), 136);
        assert!(chunks.contains(&0) && chunks.contains(&799));
        for eighth in 0..8 {
            assert!(chunks.range(eighth * 100..(eighth + 1) * 100).count() > 3);
        }
        assert_eq!(chunks, hot(800, 17, 1));
        assert_ne!(chunks, hot(800, 17, 2));
        assert_eq!(hot(9, 100, 1).len(), 9);
        assert_eq!(hot(1, 0, 1).len(), 1);
    }
}

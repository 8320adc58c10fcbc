//! Pages of history, and the outcomes of keys.

use futures_util::{StreamExt as _, TryStreamExt as _};
use plainwire_protocol::Offset;

use super::Live;
use super::engine::{Channel, Engine};
use super::writer::recorded;
use crate::{LogError, Outcome, Page};

/// Entries of a page that are asked for together.
const AT_ONCE: usize = 32;
/// How often a page is read anew whose entries were purged meanwhile.
const TRIES: usize = 8;

/// A page of messages after an offset: so many, and so many bytes, but at least one.
pub(super) async fn page(
    engine: &Engine,
    channel: &Channel,
    after: Offset,
    bounds: (usize, usize),
) -> Result<Page, LogError> {
    for _ in 0..TRIES {
        let live = engine.fresh(channel, true).await?;
        if let Some(page) = try_page(engine, channel, &live, after, bounds).await? {
            return Ok(page);
        }
    }
    Err(LogError::new(format!("{} is trimmed faster than it can be read", channel.name)))
}

async fn try_page(
    engine: &Engine,
    channel: &Channel,
    live: &Live,
    after: Offset,
    (limit, max_bytes): (usize, usize),
) -> Result<Option<Page>, LogError> {
    let (seqs, first, count, position, trimmed) = {
        let view = channel.view.lock();
        let Some(index) = &view.index else { return Ok(None) };
        let trimmed = index.trimmed_at(view.head);
        let skipped = after.since(trimmed).min(index.items.len() as u64) as usize;
        let (mut bytes, mut count) = (0_u64, 0);
        let mut seqs: Vec<u64> = Vec::new();
        for item in index.items.iter().skip(skipped).take(limit) {
            bytes += item.weight.bytes;
            if count > 0 && bytes > max_bytes as u64 {
                break;
            }
            count += 1;
            if seqs.last() != Some(&item.seq) {
                seqs.push(item.seq);
            }
        }
        (seqs, trimmed.plus(skipped as u64 + 1), count, view.position(), view.trimmed)
    };
    let entries = futures_util::stream::iter(seqs).map(|seq| engine.entry(live, seq)).buffered(AT_ONCE);
    let Some(entries) = entries.try_collect::<Vec<_>>().await?.into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let arrivals = entries.iter().flat_map(|entry| entry.arrivals(&channel.name, position.epoch));
    let messages = arrivals.flat_map(|arrival| arrival.commit.messages);
    let messages = messages.skip_while(|message| message.position.offset < first).take(count).collect();
    Ok(Some(Page { messages, position, trimmed }))
}

/// The outcome of a key, if it is recorded.
pub(super) async fn outcome(
    engine: &Engine,
    channel: &Channel,
    key: &str,
) -> Result<Option<Outcome>, LogError> {
    let live = engine.fresh(channel, true).await?;
    let used = {
        let view = channel.view.lock();
        let used = view.index.as_ref().and_then(|index| index.used(key)).cloned();
        used.filter(|used| used.expires > (engine.clock)())
    };
    match used {
        None => Ok(None),
        Some(used) if used.has_state => recorded(engine, &live, used.seq, used).await.map(Some),
        Some(used) => {
            Ok(Some(Outcome { fingerprint: used.fingerprint, position: used.position, state: None }))
        }
    }
}

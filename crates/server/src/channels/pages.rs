//! Pages of a channel's log for its readers.

use plainwire_hub::{PageRead, Scan};
use plainwire_log::{Log, LogError, Page};

/// Reads what a reader waits for. Of a channel that conflates, that may be the newest of many pages.
pub(crate) async fn read_page(log: &dyn Log, read: &PageRead) -> Result<Page, LogError> {
    let Some(mut scan) = Scan::of(read) else {
        return log.read(&read.channel, read.after, read.messages, read.bytes).await;
    };
    let mut first = None;
    while let Some((after, messages, bytes)) = scan.next_read() {
        let page = log.read(&read.channel, after, messages, bytes).await?;
        scan.take(&page.messages, page.trimmed);
        first.get_or_insert(page);
    }
    let Page { position, trimmed, .. } = first.expect("a scan reads at least once");
    Ok(Page { messages: scan.into_messages(), position, trimmed })
}

//! From older formats of the store to the one of now, a step at a time.

use dglb_node::store::{Batch, Record};

use crate::record::{self, REPORTS};

/// Format 0 has a DNS-LB's report in one record, under its identity alone.
///
/// # Errors
/// What stands there that is none of it.
pub(crate) fn from_0(records: &[Record]) -> Result<Batch, String> {
    let mut batch = Batch::default();
    for old in records.iter().filter(|record| record.table == REPORTS) {
        let identity = std::str::from_utf8(&old.key).ok().and_then(|key| key.parse().ok());
        let identity =
            identity.ok_or_else(|| format!("the key \"{}\" of a report is no identity", old.key.escape_ascii()))?;
        batch.remove(REPORTS, old.key.as_slice());
        batch.put(REPORTS, record::report_key(&identity, 0), old.value.as_slice());
    }
    Ok(batch)
}

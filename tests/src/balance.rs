//! The agent's final tally: what became of every call.

use anyhow::{Context, Result, ensure};

/// `seen A = exported B + filtered C + sampled out D + rejected E + lost F (...) + pending G`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) seen: u64,
    pub(crate) exported: u64,
    pub(crate) filtered: u64,
    pub(crate) sampled_out: u64,
    pub(crate) rejected: u64,
    pub(crate) lost: u64,
    /// `lost` by reason.
    pub(crate) reasons: Vec<(String, u64)>,
    pub(crate) pending: u64,
}

impl Balance {
    /// Parses the last tally in the agent's log.
    pub(crate) fn of_log(log: &str) -> Result<Balance> {
        let (_, text) = log
            .rsplit_once("balance=seen ")
            .with_context(|| format!("no balance in the log:\n{log}"))?;
        let text = text.lines().next().unwrap_or_default();
        Self::parse(text).with_context(|| format!("a balance: seen {text}"))
    }

    fn parse(text: &str) -> Result<Balance> {
        let number = |text: &str| -> Result<u64> {
            let digits = text.split_whitespace().next().unwrap_or_default();
            digits
                .parse()
                .with_context(|| format!("no number: {text:?}"))
        };
        let after = |label: &str| -> Result<u64> {
            let (_, rest) = text
                .split_once(label)
                .with_context(|| format!("no {label:?}"))?;
            number(rest)
        };
        let reasons = match text.split_once('(') {
            None => Vec::new(),
            Some((_, rest)) => rest
                .split(')')
                .next()
                .unwrap_or_default()
                .split(", ")
                .map(|item| {
                    let (reason, count) = item.split_once(' ').context("a reason")?;
                    Ok((reason.to_owned(), number(count)?))
                })
                .collect::<Result<_>>()?,
        };
        Ok(Balance {
            seen: number(text)?,
            exported: after("exported ")?,
            filtered: after("filtered ")?,
            sampled_out: after("sampled out ")?,
            rejected: after("rejected ")?,
            lost: after("lost ")?,
            reasons,
            pending: after("pending ")?,
        })
    }

    pub(crate) fn lost_by(&self, reason: &str) -> u64 {
        self.reasons
            .iter()
            .find(|(name, _)| name == reason)
            .map_or(0, |(_, count)| *count)
    }

    pub(crate) fn ensure_even(&self) -> Result<()> {
        let sum = self.exported
            + self.filtered
            + self.sampled_out
            + self.rejected
            + self.lost
            + self.pending;
        ensure!(self.seen == sum, "{sum} of {} calls: {self:?}", self.seen);
        let reasons: u64 = self.reasons.iter().map(|(_, count)| count).sum();
        ensure!(self.lost == reasons, "reasons for {reasons}: {self:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_line_of_an_agent() -> Result<()> {
        let log = "INFO mqspan: stopping\n\
                   INFO mqspan: stopped balance=seen 113 = exported 60 + filtered 23 + sampled out 2 \
                   + rejected 4 + lost 17 (ring_full 3, queue_full 14) + pending 7\n";
        let balance = Balance::of_log(log)?;
        assert_eq!(balance.seen, 113);
        assert_eq!(balance.sampled_out, 2);
        assert_eq!(balance.lost_by("queue_full"), 14);
        assert_eq!(balance.lost_by("shutdown"), 0);
        assert_eq!(balance.pending, 7);
        balance.ensure_even()
    }

    #[test]
    fn what_does_not_add_up_is_refused() -> Result<()> {
        let base = "balance=seen 10 = exported 4 + filtered 1 + sampled out 1 + rejected 1 + lost 1 \
                    (ring_full 1) + pending 2";
        Balance::of_log(base)?.ensure_even()?;
        for wrong in [
            base.replace("seen 10", "seen 11"),
            base.replace("ring_full 1", "ring_full 2"),
        ] {
            let balance = Balance::of_log(&wrong)?;
            assert!(balance.ensure_even().is_err(), "{wrong}");
        }
        assert!(Balance::of_log("stopped").is_err());
        Ok(())
    }
}

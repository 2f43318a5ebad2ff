//! What arguments of several subcommands may be.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use tls_cork_nbd::MAX_PAYLOAD;

/// Block sizes that can be asked for.
pub fn block_size_parser() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=u64::from(MAX_PAYLOAD))
}

/// Holds that can be asked for, in milliseconds.
pub fn max_hold_parser() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(1..=60_000)
}

/// A positive number of seconds, up to a day.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds above 0, at most 86400".to_owned()),
    }
}

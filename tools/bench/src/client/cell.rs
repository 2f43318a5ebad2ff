//! The figures of one run: one strategy at one block size and queue depth.

use serde::{Deserialize, Serialize};

use crate::client::load::{Load, Measured};

/// What `nbd --json` prints, and what tables are made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the strategy.
    pub strategy: String,
    /// Whether TLS was in use.
    pub tls: bool,
    /// Payload bytes of each write.
    pub block_size: u32,
    /// Requests kept outstanding.
    pub queue_depth: u32,
    /// Writes answered.
    pub requests: u64,
    /// From before the first write to behind the last reply.
    pub seconds: f64,
    /// Writes answered per second.
    pub requests_per_s: f64,
    /// Payload bytes per second.
    pub bytes_per_s: f64,
    /// TLS records sent, counted on the wire.
    pub records: u64,
    /// System calls that sent, or tried to.
    pub sends: u64,
    /// Bytes the socket took.
    pub wire_bytes: u64,
    /// CPU time in user mode, of the client alone.
    pub cpu_user_s: f64,
    /// CPU time in the kernel, on behalf of the client.
    pub cpu_sys_s: f64,
    /// CPU time of the server, user and system, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_cpu_s: Option<f64>,
    /// Everything has been read back, and was the same.
    pub verified: bool,
}

impl Cell {
    /// The figures of `measured`.
    pub fn new(strategy: &str, tls: bool, load: &Load, measured: &Measured) -> Self {
        let seconds = measured.elapsed.as_secs_f64();
        let requests = measured.requests as f64;
        Self {
            strategy: strategy.to_owned(),
            tls,
            block_size: load.block_size,
            queue_depth: load.queue_depth,
            requests: measured.requests,
            seconds,
            requests_per_s: requests / seconds,
            bytes_per_s: requests * f64::from(load.block_size) / seconds,
            records: measured.counters.records,
            sends: measured.counters.sends,
            wire_bytes: measured.counters.wire_bytes,
            cpu_user_s: measured.cpu.user.as_secs_f64(),
            cpu_sys_s: measured.cpu.sys.as_secs_f64(),
            server_cpu_s: None,
            verified: measured.verified,
        }
    }

    /// TLS records for each request.
    pub fn records_per_request(&self) -> f64 {
        self.records as f64 / self.requests as f64
    }

    /// Sending system calls for each request.
    pub fn sends_per_request(&self) -> f64 {
        self.sends as f64 / self.requests as f64
    }

    /// CPU seconds, user and system, for each gigabyte (10⁹ bytes) of payload.
    pub fn cpu_s_per_gb(&self) -> f64 {
        let gigabytes = self.requests as f64 * f64::from(self.block_size) / 1e9;
        (self.cpu_user_s + self.cpu_sys_s) / gigabytes
    }
}

//! The NBD client: a connection that writes by one of several strategies, and a load for it.

pub mod cell;
pub mod link;
pub mod load;
pub mod wire;

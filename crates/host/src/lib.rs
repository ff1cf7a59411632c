//! Inputs of a process from its host, in forms that a person reads: the environment as a value, small files with a
//! deadline, files of one user only, durations and sizes as settings spell them, an error with its causes as one text.

pub mod bounded_read;
pub mod environment;
pub mod error_chain;
pub mod private_file;
pub mod units;

//! Rights as a whole.

mod decisions;
mod oracle;
mod sharing;

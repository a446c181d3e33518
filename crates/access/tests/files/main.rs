//! Files of rules: what is read, what is refused with which words, and what is written.

mod mosquitto;
mod toml;

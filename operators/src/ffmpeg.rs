//! ffmpeg as a child process: what reading and writing videos share.

pub(crate) mod child;
pub(crate) mod log;

pub(crate) use child::Child;
pub(crate) use log::Log;

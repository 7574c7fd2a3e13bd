//! One integration binary.
#![cfg(test)]

mod bad_input;
mod closures;
mod cutover;
#[cfg(feature = "fetched-models")]
mod fetched;
mod golden;
mod hang;
mod junction;
mod live;
mod moving;
mod overload;
mod plans;
mod program;
mod report;
#[cfg(feature = "rtsp")]
mod rtsp;
mod stop;
mod tidy;
mod tracking;
mod twins;

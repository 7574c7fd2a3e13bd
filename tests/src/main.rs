//! One integration binary.
#![cfg(test)]

mod bad_input;
mod closures;
mod cutover;
#[cfg(feature = "fetched-models")]
mod fetched;
mod golden;
mod hang;
mod heads;
mod junction;
mod live;
mod many_lanes;
mod moving;
mod odd_nodes;
mod overload;
mod own_models;
mod piloted;
mod planning;
mod plans;
mod processes;
mod profile;
mod program;
mod report;
#[cfg(feature = "rtsp")]
mod rtsp;
mod simulation;
mod speech;
mod split;
mod stop;
mod telemetry;
mod tidy;
mod tracking;
mod twins;

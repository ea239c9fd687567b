//! Figures of all streams, for the facade `metrics`. Without the feature nothing is counted.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(crate) use off::{IS_ON, Stream, refused, waited};
#[cfg(feature = "metrics")]
pub(crate) use on::{IS_ON, Stream, refused, waited};

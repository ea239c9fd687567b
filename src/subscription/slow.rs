//! What becomes of live clients that are too slow.

/// What becomes of a live client that reads more slowly than events are published, so that what it is
/// to be sent next is no longer in the [window](crate::Hub::window) of its topic.
///
/// It concerns clients that were sent everything once since they came. One that is still being sent
/// what it missed before is never too slow: it reads that from the store, as fast as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowClient {
    /// It reads from the store what it has not been sent yet, and misses nothing that is retained.
    #[default]
    CatchUp,
    /// It is told by an `sse.gap` (`lagged`) how many events it misses, where that is known, and goes
    /// on with the newest one. For topics of which only the latest counts.
    SkipToNewest,
    /// It is told the same, and then an `sse.bye` (`lagged`) ends its stream.
    ///
    /// When it comes back, it goes on where the gap said: with what was the newest event then. What it
    /// was told that it misses it is never sent.
    Disconnect,
}

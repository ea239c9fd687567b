//! What a client is sent of the record.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;

use super::{Listener, Phase};
use crate::{
    connection::Source,
    event::{GapReason, bye, gap},
    last_event_id::ResumeOutcome,
    recording::note::{Note, Outcome},
    sent::Sent,
    store::{Position, RecordKind},
    subscription::{Frame, Step, piece},
    wire::{COMMENT_LINE, retry_line},
};

impl Listener {
    /// Takes a step of the follower.
    pub(super) fn take(&mut self, step: Step) -> Option<Sent> {
        match step {
            Step::Frames(frames, to, out) => {
                let mut blocks = Vec::new();
                let events = self.write(&frames, to, &mut blocks);
                if let Some(seat) = &self.seat {
                    let certain = seat.sent(to.offset());
                    let events = frames.iter().filter(|one| one.kind() == RecordKind::Event);
                    let offsets = events.map(|event| event.offset);
                    self.uncertain.retain(|offset| *offset > certain);
                    self.uncertain
                        .extend(offsets.filter(|offset| *offset > certain));
                }
                let bytes = piece(blocks, out);
                (events > 0).then_some(Sent {
                    bytes,
                    events,
                    gap: None,
                })
            }
            Step::Gap(missing, at) => match missing.reason() {
                GapReason::Unknown | GapReason::Ahead => {
                    self.phase = Phase::Gone(self.cursor);
                    None
                }
                reason => {
                    self.cursor = Some(at);
                    self.place = Some(at);
                    if reason == GapReason::Evicted {
                        self.resume = ResumeOutcome::Gap(reason);
                    }
                    if let Some(seat) = &self.seat {
                        seat.sent(at.offset());
                    }
                    self.tell(gap(missing, None), self.id(at))
                }
            },
            Step::Line => Some(Bytes::from_static(COMMENT_LINE).into()),
            Step::End(reason, _) => {
                let bye = self.tell(bye(reason), self.last_id());
                self.end(reason);
                bye
            }
            Step::Open(_) | Step::Joined(..) => {
                debug_assert!(false, "neither is asked for here");
                None
            }
        }
    }

    /// Writes the events among records, and heeds the others. Returns how many events there are.
    fn write(&mut self, frames: &[Frame], to: Position, blocks: &mut Vec<u8>) -> usize {
        let (mut events, mut is_heard) = (0, false);
        let mut id = String::new();
        for frame in frames {
            match frame.kind() {
                RecordKind::Event => {
                    if let Some(retry) = self.retry.take() {
                        blocks.extend(retry_line(retry));
                    }
                    let at = Position::new(to.epoch(), frame.offset);
                    self.place = Some(at);
                    if self.rules.ids {
                        id.clear();
                        // Writing to a `String` does not fail.
                        let _ = write!(id, "{}{at}", self.prefix);
                        frame.write_with_id(blocks, &id);
                    } else {
                        frame.write_without_id(blocks);
                    }
                    events += 1;
                    is_heard = true;
                }
                RecordKind::Lease => {
                    let note = Note::parse(frame.note());
                    is_heard |= note.as_ref().is_some_and(Note::is_producers);
                    if let Some(Note::Retry { millis }) = note {
                        self.retry = Some(Duration::from_millis(millis));
                    }
                }
                RecordKind::End => {
                    // There may be notes behind it.
                    self.phase = Phase::Ending(Outcome::parse(frame.note()));
                    break;
                }
            }
        }
        if let (true, Phase::Following(following)) = (is_heard, &mut self.phase) {
            following.watch.hear();
        }
        self.cursor = Some(to);
        events
    }
}

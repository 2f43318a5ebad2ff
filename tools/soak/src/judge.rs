//! What counts as right when a stream is over.

use std::io;

use super::ledger::{EndReport, Flip, Ledger};
use super::plan::{Fault, Side};

/// What became of a changed bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlipFate {
    /// Its receiver said that a record is wrong: `InvalidData`.
    TlsError,
    /// Its receiver ended with another error, in the handshake: the other end noticed first, or waited for what never came.
    OtherError,
    /// It was behind the end of the stream, or still on the way when the receiver had it.
    Unread,
}

/// Checks what the ends say against what was accepted and what happened.
///
/// # Errors
///
/// What is wrong, in words.
pub(crate) fn judge(ledger: &Ledger, reports: &[EndReport; 2]) -> Result<(), String> {
    let undisturbed = Fault::ALL.iter().all(|&fault| !ledger.has_happened(fault));
    for side in Side::BOTH {
        let report = &reports[side as usize];
        let (sent, got) = (ledger.accepted(side.other()), ledger.received(side));
        let lost = ledger.discarded(side.other());
        if got > sent - lost {
            return Err(format!("the {side:?} received {got} bytes of {sent} that were sent, {lost} of them given up"));
        }
        let ended = !report.left && report.receiving.is_ok();
        if ended && (got != sent || lost > 0) {
            return Err(format!("the {side:?} saw a proper end after {got} bytes of {sent}, {lost} of them given up"));
        }
        if ended && !ledger.is_closed(side.other()) {
            return Err(format!("the {side:?} saw a proper end, but the other end has not closed"));
        }
        let errors = [("sending", &report.sending), ("receiving", &report.receiving)];
        for (what, told) in errors.into_iter().filter_map(|(what, told)| Some((what, told.as_ref().err()?))) {
            if undisturbed {
                return Err(format!("nothing happened, yet {what} failed at the {side:?}: {told}"));
            }
            let named = match told.kind {
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => true,
                io::ErrorKind::InvalidData => ledger.has_happened(Fault::BitFlip),
                _ => false,
            };
            if !named {
                return Err(format!("{what} failed at the {side:?} with an error that was not called for: {told}"));
            }
        }
    }
    ledger.flip().map_or(Ok(()), |flip| judge_flip(ledger, flip, reports).map(|_fate| ()))
}

/// Checks that nobody was deceived by a changed bit.
///
/// # Errors
///
/// What is wrong, in words.
pub(crate) fn judge_flip(ledger: &Ledger, flip: Flip, reports: &[EndReport; 2]) -> Result<FlipFate, String> {
    let receiver = flip.sender.other();
    let received = ledger.received(receiver);
    // A byte of content takes at least one on the wire.
    if received > flip.at {
        return Err(format!("wire byte {} was changed, and the {receiver:?} received {received} bytes", flip.at));
    }
    // What reading said, or sending if that ended the end first.
    let report = &reports[receiver as usize];
    match report.receiving.as_ref().and(report.sending.as_ref()) {
        _ if !ledger.has_read(flip) => Ok(FlipFate::Unread),
        Ok(()) => Err(format!("the {receiver:?} read a record that was changed on the wire, and said nothing")),
        Err(told) if told.kind == io::ErrorKind::InvalidData => Ok(FlipFate::TlsError),
        Err(_) if received == 0 => Ok(FlipFate::OtherError),
        Err(told) => Err(format!("the {receiver:?} read a changed record, and called it something else: {told}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Told;
    use super::*;

    fn end(receiving: Result<(), io::ErrorKind>) -> EndReport {
        let receiving = receiving.map_err(|kind| Told { kind, text: String::new() });
        EndReport { sending: Ok(()), receiving, left: false, stats: tls_cork::Stats::default() }
    }

    fn ledger(accepted: usize, received: usize) -> Ledger {
        let ledger = Ledger::new();
        ledger.accept(Side::Client, accepted);
        ledger.receive(Side::Server, received);
        ledger.set_closed(Side::Client);
        ledger.set_closed(Side::Server);
        ledger
    }

    #[test]
    fn a_clean_stream_has_all_bytes() {
        assert_eq!(judge(&ledger(10, 10), &[end(Ok(())), end(Ok(()))]), Ok(()));
        let missing = judge(&ledger(10, 9), &[end(Ok(())), end(Ok(()))]);
        assert!(missing.unwrap_err().contains("proper end after 9 bytes of 10"));
        assert!(judge(&ledger(10, 11), &[end(Ok(())), end(Ok(()))]).is_err());
    }

    #[test]
    fn errors_need_a_cause_and_a_name() {
        let reset = || [end(Ok(())), end(Err(io::ErrorKind::ConnectionReset))];
        assert!(judge(&ledger(10, 9), &reset()).unwrap_err().contains("nothing happened"));
        let disturbed = ledger(10, 9);
        disturbed.happen(Fault::WireReset);
        assert_eq!(judge(&disturbed, &reset()), Ok(()));
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::WouldBlock, io::ErrorKind::Other] {
            assert!(judge(&disturbed, &[end(Ok(())), end(Err(kind))]).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn an_aborted_stream_has_no_proper_end_if_bytes_were_lost() {
        let aborted = ledger(10, 9);
        aborted.happen(Fault::Abort);
        aborted.discard(Side::Client, 1);
        assert!(judge(&aborted, &[end(Ok(())), end(Ok(()))]).is_err());
        assert_eq!(judge(&aborted, &[end(Ok(())), end(Err(io::ErrorKind::UnexpectedEof))]), Ok(()));
    }

    /// Two ends of a stream whose client's wire byte 500 was changed after 400 bytes of content.
    fn flipped(wire_read: usize) -> Ledger {
        let flipped = ledger(1000, 400);
        flipped.happen_to(Flip { sender: Side::Client, at: 500 });
        flipped.read_wire(Side::Server, wire_read);
        flipped
    }

    fn sees(ledger: &Ledger, receiving: Result<(), io::ErrorKind>) -> Result<FlipFate, String> {
        let reports = [end(Err(io::ErrorKind::ConnectionReset)), end(receiving)];
        let flip = ledger.flip().expect("a changed bit");
        assert_eq!(judge(ledger, &reports).is_ok(), judge_flip(ledger, flip, &reports).is_ok());
        judge_flip(ledger, flip, &reports)
    }

    #[test]
    fn the_receiver_of_a_changed_record_has_to_say_so() {
        assert_eq!(sees(&flipped(501), Err(io::ErrorKind::InvalidData)), Ok(FlipFate::TlsError));
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe] {
            assert!(sees(&flipped(501), Err(kind)).unwrap_err().contains("something else"), "{kind:?}");
        }
        // That the other end failed is not enough.
        let flip = Flip { sender: Side::Client, at: 500 };
        let deceived = judge_flip(&flipped(501), flip, &[end(Err(io::ErrorKind::InvalidData)), end(Ok(()))]);
        assert!(deceived.unwrap_err().contains("said nothing"));
    }

    #[test]
    fn nothing_behind_a_changed_bit_may_be_delivered() {
        let deceived = flipped(2000);
        deceived.receive(Side::Server, 101);
        assert!(sees(&deceived, Err(io::ErrorKind::InvalidData)).unwrap_err().contains("received 501 bytes"));
    }

    #[test]
    fn a_changed_bit_of_the_handshake_may_be_noticed_by_either_end() {
        let early = ledger(0, 0);
        early.happen_to(Flip { sender: Side::Client, at: 100 });
        early.read_wire(Side::Server, 101);
        assert_eq!(sees(&early, Err(io::ErrorKind::UnexpectedEof)), Ok(FlipFate::OtherError));
        let reports = [end(Err(io::ErrorKind::InvalidData)), end(Ok(()))];
        assert!(judge(&early, &reports).unwrap_err().contains("said nothing"));
    }

    #[test]
    fn a_changed_bit_that_nobody_reads_is_no_error() {
        assert_eq!(sees(&flipped(500), Err(io::ErrorKind::UnexpectedEof)), Ok(FlipFate::Unread));
        let behind_the_end = ledger(400, 400);
        behind_the_end.write_wire(Side::Client, 500);
        behind_the_end.end_wire(Side::Client);
        behind_the_end.happen_to(Flip { sender: Side::Client, at: 500 });
        behind_the_end.read_wire(Side::Server, 530);
        assert_eq!(sees(&behind_the_end, Ok(())), Ok(FlipFate::Unread));
    }
}

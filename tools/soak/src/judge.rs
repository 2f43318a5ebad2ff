//! What counts as right when a stream is over.

use std::io::ErrorKind;

use super::ledger::{EndReport, Ledger};
use super::plan::{Fault, FaultPlan, Side};

/// Checks what the ends report against what was accepted and what happened.
///
/// # Errors
///
/// What is wrong, in words.
pub(crate) fn judge(ledger: &Ledger, reports: &[EndReport; 2]) -> Result<(), String> {
    let fault = ledger.fault();
    for side in Side::BOTH {
        let report = &reports[side as usize];
        let (peer, got) = (ledger.end(side.other()), ledger.end(side).received.get());
        let (sent, lost) = (peer.accepted.get(), peer.discarded.get());
        if got > sent - lost {
            return Err(format!("the {side:?} received {got} bytes of {sent} that were sent, {lost} of them given up"));
        }
        let ended = !report.left && report.receiving.is_ok();
        if ended && (got != sent || lost > 0) {
            return Err(format!("the {side:?} saw a proper end after {got} bytes of {sent}, {lost} of them given up"));
        }
        if ended && !peer.closed.is_set() {
            return Err(format!("the {side:?} saw a proper end, but the other end has not closed"));
        }
        for error in [&report.sending, &report.receiving].into_iter().filter_map(|half| half.as_ref().err()) {
            let is_named = match (error.kind(), fault) {
                (_, None) => return Err(format!("nothing happened, yet the {side:?} failed: {error:?}")),
                (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof, _) => true,
                (ErrorKind::InvalidData, Some(plan)) => plan.fault == Fault::BitFlip,
                _ => false,
            };
            if !is_named {
                return Err(format!("the {side:?} failed with an error that was not called for: {error:?}"));
            }
        }
    }
    match fault {
        Some(plan) if plan.fault == Fault::BitFlip => judge_flip(plan, ledger, &reports[plan.side.other() as usize]),
        _ => Ok(()),
    }
}

/// Checks that the receiver of a changed bit was not deceived. The bit is never behind the end of the
/// stream, and always delivered.
fn judge_flip(flip: FaultPlan, ledger: &Ledger, report: &EndReport) -> Result<(), String> {
    let received = ledger.end(flip.side.other()).received.get();
    // A byte of content takes at least one on the wire.
    if received > flip.at {
        return Err(format!("wire byte {} was changed, and {received} bytes were received", flip.at));
    }
    match &report.receiving {
        Ok(()) => Err("a record was changed on the wire, and its receiver reported nothing".to_owned()),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(()),
        Err(error) => Err(format!("the receiver of a changed record called that something else: {error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(receiving: Result<(), ErrorKind>) -> EndReport {
        EndReport { sending: Ok(()), receiving: receiving.map_err(Into::into), left: false, stats: Default::default() }
    }

    /// Judges a stream whose client has sent `sent` bytes and given up `lost` of them, and whose
    /// server has received `got` bytes.
    fn judged(
        fault: Option<(Fault, u64)>,
        [sent, lost, got]: [usize; 3],
        client: Result<(), ErrorKind>,
        server: Result<(), ErrorKind>,
    ) -> Result<(), String> {
        let ledger = Ledger::new();
        let account = ledger.end(Side::Client);
        account.accepted.add(sent);
        account.discarded.add(lost);
        ledger.end(Side::Server).received.add(got);
        Side::BOTH.iter().for_each(|&side| ledger.end(side).closed.set());
        if let Some((fault, at)) = fault {
            ledger.happen(FaultPlan { fault, side: Side::Client, at });
        }
        judge(&ledger, &[end(client), end(server)])
    }

    #[track_caller]
    fn assert_wrong(judged: Result<(), String>, part: &str) {
        let why = judged.expect_err(part);
        assert!(why.contains(part), "{why}");
    }

    #[test]
    fn a_clean_stream_has_all_bytes() {
        assert_eq!(judged(None, [10, 0, 10], Ok(()), Ok(())), Ok(()));
        assert_wrong(judged(None, [10, 0, 9], Ok(()), Ok(())), "proper end after 9 bytes of 10");
        assert_wrong(judged(None, [10, 0, 11], Ok(()), Ok(())), "received 11 bytes of 10");
        assert_wrong(judged(None, [10, 0, 9], Ok(()), Err(ErrorKind::ConnectionReset)), "nothing happened");
    }

    #[test]
    fn errors_need_a_name_that_fits_the_fault() {
        let reset = |kind| judged(Some((Fault::WireReset, 9)), [10, 0, 9], Ok(()), Err(kind));
        assert_eq!(reset(ErrorKind::ConnectionReset), Ok(()));
        for kind in [ErrorKind::InvalidData, ErrorKind::WouldBlock, ErrorKind::Other] {
            assert_wrong(reset(kind), "not called for");
        }
        let abort = |server| judged(Some((Fault::Abort, 9)), [10, 1, 9], Ok(()), server);
        assert_eq!(abort(Err(ErrorKind::UnexpectedEof)), Ok(()));
        assert_wrong(abort(Ok(())), "proper end");
    }

    #[test]
    fn the_receiver_of_a_changed_record_has_to_name_it_and_gets_nothing_behind_it() {
        let flip = |got, client, server| judged(Some((Fault::BitFlip, 500)), [1000, 0, got], client, server);
        let reset = Err(ErrorKind::ConnectionReset);
        assert_eq!(flip(400, reset, Err(ErrorKind::InvalidData)), Ok(()));
        assert_wrong(flip(501, reset, Err(ErrorKind::InvalidData)), "501 bytes were received");
        assert_wrong(flip(400, Ok(()), Err(ErrorKind::UnexpectedEof)), "something else");
        // That the other end noticed is not enough.
        let silent = judged(Some((Fault::BitFlip, 500)), [0, 0, 0], Err(ErrorKind::InvalidData), Ok(()));
        assert_wrong(silent, "reported nothing");
    }
}

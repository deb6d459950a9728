//! Streams: who drives them, how events are grouped into writes, who may resume, and how long they are kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt, Stream, StreamExt, stream};
use ragstone_core::access::{Principal, Role};
use ragstone_core::ask::AnswerEvent;
use ragstone_core::id::TraceId;
use uuid::Uuid;

use super::*;
use crate::http::test_app::caller;

fn sources() -> AnswerEvent {
    AnswerEvent::Sources {
        passages: [].into(),
        notices: vec![],
    }
}

fn delta(text: &str) -> AnswerEvent {
    AnswerEvent::Delta { text: text.into() }
}

fn failed(code: &str) -> AnswerEvent {
    AnswerEvent::Failed {
        code: code.into(),
        detail: "why".into(),
    }
}

fn asker() -> Principal {
    caller("default", &[], Role::Reader)
}

fn trace(n: usize) -> TraceId {
    TraceId(Uuid::from_u128(n as u128))
}

fn begin(
    replays: &ResumableStreams,
    n: usize,
    answer: impl Stream<Item = AnswerEvent> + Send + 'static,
    resume_for: Option<Duration>,
) -> AnswerStreamReader {
    replays.begin_stream(NewStream {
        trace_id: trace(n),
        principal: asker(),
        answer: answer.boxed(),
        resume_for,
        shutdown: Default::default(),
    })
}

/// A stream whose events the test sends.
fn told(replays: &ResumableStreams, n: usize) -> (UnboundedSender<AnswerEvent>, AnswerStreamReader) {
    let (tell, told) = unbounded();
    (tell, begin(replays, n, told, None))
}

fn rest(replays: &ResumableStreams, n: usize, after: usize) -> AnswerStreamReader {
    match replays.find_stream(trace(n), &asker(), after) {
        ResumeOutcome::Remaining(reading) => reading,
        ResumeOutcome::Delivered | ResumeOutcome::Unknown => panic!("nothing is left of {n} after {after}"),
    }
}

/// The names of the events that are there at once; none if nothing is.
fn ready(reading: &mut AnswerStreamReader) -> Option<Vec<String>> {
    let bytes = reading.next().now_or_never()?;
    Some(bytes.map_or_else(Vec::new, |bytes| names(&bytes)))
}

fn names(frames: &Bytes) -> Vec<String> {
    let text = std::str::from_utf8(frames).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn events_that_are_due_together_are_one_piece() {
    let replays = ResumableStreams::default();
    let (tell, mut reading) = told(&replays, 1);
    assert_eq!(ready(&mut reading), None);
    let send = |event| tell.unbounded_send(event).unwrap();
    [sources(), delta("a"), delta("b")].into_iter().for_each(&send);
    assert_eq!(ready(&mut reading).unwrap(), ["sources", "delta", "delta"]);
    assert_eq!(ready(&mut reading), None);
    send(delta("c"));
    assert_eq!(ready(&mut reading).unwrap(), ["delta"]);
    [delta("d"), failed("why")].into_iter().for_each(&send);
    assert_eq!(ready(&mut reading).unwrap(), ["delta", "failed"]);
    assert_eq!(ready(&mut reading).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_only_his_own_answer() {
    let replays = ResumableStreams::default();
    let taken = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let endless = stream::repeat_with(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        delta("and so on ")
    });
    let mut slow = begin(&replays, 1, endless, None);
    let first = slow.next().await.unwrap();
    let read = taken.load(Ordering::SeqCst);
    assert!(
        first.len() <= 16 * 1024 && read <= 128,
        "{read} events in {} bytes",
        first.len()
    );
    // He reads no more. Others read on, of his stream too.
    for n in 2..10 {
        let whole = stream::iter([sources(), delta("a"), failed("why")]);
        assert_eq!(
            ready(&mut begin(&replays, n, whole, None)).unwrap(),
            ["sources", "delta", "failed"]
        );
    }
    assert_eq!(taken.load(Ordering::SeqCst), read, "nothing is read ahead of him");
    let mut other = rest(&replays, 1, 0);
    assert_eq!(ready(&mut other).unwrap().len(), read);
    assert!(ready(&mut other).is_some() && taken.load(Ordering::SeqCst) > read);
}

/// A waker that counts.
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once, to be woken through the count.
fn waits(reading: &mut AnswerStreamReader, count: &std::sync::Arc<Count>) {
    let waker = count.clone().into();
    let mut context = std::task::Context::from_waker(&waker);
    assert!(reading.poll_next_unpin(&mut context).is_pending());
}

#[tokio::test]
async fn an_event_wakes_its_reader_once() {
    let replays = ResumableStreams::default();
    let count = std::sync::Arc::new(Count(AtomicUsize::new(0)));
    let (tell, mut reading) = told(&replays, 1);
    for n in 1..=10 {
        waits(&mut reading, &count);
        tell.unbounded_send(delta("a")).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), n);
        assert_eq!(ready(&mut reading).unwrap(), ["delta"]);
    }
}

#[tokio::test]
async fn who_reads_along_goes_on_when_the_other_leaves() {
    let replays = ResumableStreams::default();
    let [first_count, second_count] = [0; 2].map(|zero| std::sync::Arc::new(Count(AtomicUsize::new(zero))));
    let (tell, mut first) = told(&replays, 1);
    tell.unbounded_send(sources()).unwrap();
    assert_eq!(ready(&mut first).unwrap(), ["sources"]);
    let mut second = rest(&replays, 1, 0);
    assert_eq!(ready(&mut second).unwrap(), ["sources"]);
    waits(&mut second, &second_count);
    waits(&mut first, &first_count);
    // The first is the one that the answer wakes now; he leaves.
    drop(first);
    assert_eq!(second_count.0.load(Ordering::SeqCst), 1);
    waits(&mut second, &second_count);
    tell.unbounded_send(failed("why")).unwrap();
    assert_eq!(second_count.0.load(Ordering::SeqCst), 2);
    assert_eq!(ready(&mut second).unwrap(), ["failed"]);
}

#[tokio::test]
async fn what_one_reader_takes_wakes_the_other() {
    let replays = ResumableStreams::default();
    let count = std::sync::Arc::new(Count(AtomicUsize::new(0)));
    let (tell, mut first) = told(&replays, 1);
    let mut second = rest(&replays, 1, 0);
    waits(&mut second, &count);
    // The first is the one that the answer wakes now.
    assert_eq!(ready(&mut first), None);
    tell.unbounded_send(sources()).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    assert_eq!(ready(&mut first).unwrap(), ["sources"]);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(ready(&mut second).unwrap(), ["sources"]);
}

#[tokio::test]
async fn the_last_reader_takes_the_answer_along() {
    let replays = ResumableStreams::default();
    let (tell, mut first) = told(&replays, 1);
    tell.unbounded_send(sources()).unwrap();
    assert_eq!(ready(&mut first).unwrap(), ["sources"]);
    let second = rest(&replays, 1, 1);
    drop(first);
    assert!(!tell.is_closed(), "somebody reads");
    drop(second);
    assert!(tell.is_closed());
    assert_eq!(ready(&mut rest(&replays, 1, 1)).unwrap(), ["failed"]);
    assert!(matches!(
        replays.find_stream(trace(1), &asker(), 2),
        ResumeOutcome::Delivered
    ));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_be_left_goes_on_by_itself() {
    let replays = ResumableStreams::default();
    let (tell, told): (_, UnboundedReceiver<AnswerEvent>) = unbounded();
    let mut reading = begin(&replays, 1, told, Some(Duration::from_secs(30)));
    tell.unbounded_send(sources()).unwrap();
    assert_eq!(names(&reading.next().await.unwrap()), ["sources"]);
    drop(reading);
    tell.unbounded_send(delta("a")).unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    // Sent while there was no reader.
    let mut reading = rest(&replays, 1, 1);
    assert_eq!(ready(&mut reading).unwrap(), ["delta"]);
    drop(reading);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(tell.is_closed(), "nobody came back");
    assert_eq!(ready(&mut rest(&replays, 1, 2)).unwrap(), ["failed"]);
}

#[tokio::test]
async fn another_caller_cannot_resume() {
    let others: [fn() -> Principal; 3] = [
        || caller("other", &[], Role::Reader),
        || caller("default", &["dept:x"], Role::Reader),
        Principal::local_operator,
    ];
    let replays = ResumableStreams::default();
    let frames: Vec<_> = begin(&replays, 1, stream::iter([failed("why")]), None).collect().await;
    assert_eq!(frames.len(), 1);
    assert!(matches!(
        replays.find_stream(trace(1), &asker(), 0),
        ResumeOutcome::Remaining(_)
    ));
    assert!(matches!(
        replays.find_stream(trace(1), &asker(), 1),
        ResumeOutcome::Delivered
    ));
    for other in others {
        assert!(matches!(
            replays.find_stream(trace(1), &other(), 0),
            ResumeOutcome::Unknown
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn streams_are_kept_while_there_is_room_and_time() {
    let replays = ResumableStreams::default();
    let ended = |n| {
        let mut reading = begin(&replays, n, stream::iter([failed("why")]), None);
        assert_eq!(ready(&mut reading).unwrap(), ["failed"]);
    };
    let is_kept = |n| matches!(replays.find_stream(trace(n), &asker(), 0), ResumeOutcome::Remaining(_));
    (0..MAX_STREAMS).for_each(ended);
    assert!(is_kept(0));
    ended(MAX_STREAMS);
    assert!(!is_kept(0) && is_kept(1) && is_kept(MAX_STREAMS));
    tokio::time::sleep(REPLAY_TTL + Duration::from_secs(1)).await;
    assert!(!is_kept(MAX_STREAMS));
    ended(MAX_STREAMS + 1);
    let kept = replays.lock_streams();
    assert_eq!((kept.streams.len(), kept.ended.len()), (1, 1));
    let expected = kept.streams[&trace(MAX_STREAMS + 1)].progress().bytes;
    assert_eq!(kept.bytes, expected);
}

#[tokio::test]
async fn a_stream_beyond_all_room_is_told_and_not_kept() {
    let replays = ResumableStreams::default();
    let running: Vec<_> = (0..MAX_STREAMS).map(|n| told(&replays, n)).collect();
    let (tell, mut reading) = told(&replays, MAX_STREAMS);
    tell.unbounded_send(failed("why")).unwrap();
    assert_eq!(ready(&mut reading).unwrap(), ["failed"]);
    assert!(matches!(
        replays.find_stream(trace(MAX_STREAMS), &asker(), 0),
        ResumeOutcome::Unknown
    ));
    assert_eq!(replays.lock_streams().bytes, 0);
    drop(running);
}

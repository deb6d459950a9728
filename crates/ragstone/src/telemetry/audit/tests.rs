//! Contents of the audit file, whatever texts a line contains.

use super::*;

fn line(subject: &str) -> AuditLine {
    AuditLine {
        time: "2024-01-01T00:00:00.000Z".into(),
        trace_id: "t".into(),
        tenant: Some("default".into()),
        subject: Some(subject.into()),
        role: Some(Role::Writer),
        action: "POST /api/v1/documents".into(),
        targets: vec!["d".into()],
        decision: AuditDecision::Refused,
        status: Some(409),
        code: Some("uri_taken"),
        address: Some("10.0.0.7".into()),
        question: None,
    }
}

#[test]
fn a_line_is_one_line_of_ascii_whatever_its_text() {
    let forged = "u\"}\r\n{\"decision\":\"allowed\"\u{85}\u{2028}\u{9b}2J\u{7f}\u{202e}é😀";
    let text = format_line(&line(forged));
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text}");
    assert_eq!(text.matches('\n').count(), 1);
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["subject"], forged);
    assert_eq!(
        (read["decision"].as_str(), read["role"].as_str()),
        (Some("refused"), Some("writer"))
    );
    assert!(read.get("question").is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn lines_are_appended_and_the_file_may_be_moved_away() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.1"));
    let log = AuditLog::open(&path, false).unwrap();
    log.write_line(&line("a")).await;
    log.write_detached(&line("b"));
    log.close().await;
    let log = AuditLog::open(&path, false).unwrap();
    std::fs::rename(&path, &moved).unwrap();
    log.write_line(&line("c")).await;
    log.reopen().await;
    log.write_line(&line("d")).await;
    log.close().await;
    let subjects = |path: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let subject = |line: serde_json::Value| line["subject"].as_str().unwrap().to_owned();
        text.lines().map(line).map(subject).collect()
    };
    assert_eq!(subjects(&moved), ["a", "b", "c"]);
    assert_eq!(subjects(&path), ["d"]);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    log.write_line(&line("late")).await;
    assert_eq!(log.lost_lines(), 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    assert!(AuditLog::open(&folder.path().join("none/audit.jsonl"), false).is_err());
    assert!(AuditLog::open(folder.path(), false).is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_written_is_counted() {
    let log = AuditLog::open(Path::new("/dev/full"), false).unwrap();
    log.write_line(&line("a")).await;
    log.close().await;
    assert_eq!(log.lost_lines(), 1);
}

#[tokio::test]
async fn more_lines_than_fit_wait_and_all_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = AuditLog::open(&path, false).unwrap();
    for n in 0..3 * QUEUE {
        log.write_line(&line(&n.to_string())).await;
    }
    log.close().await;
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert_eq!((lines, log.lost_lines()), (3 * QUEUE, 0));
}

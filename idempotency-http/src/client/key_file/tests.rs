//! The file of keys: restarts, torn lines, damage, limits.

use std::fs;

use super::*;
use crate::client::ClientKey;

fn key(text: &str) -> HeaderKey {
    HeaderKey::new(text).unwrap()
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("keys")
}

#[tokio::test]
async fn a_name_keeps_its_first_key_across_openings() {
    let folder = tempfile::tempdir().unwrap();
    for fresh in ["one", "two", "three"] {
        let keys = KeyFile::open(file(&folder)).unwrap();
        assert_eq!(keys.keep("order-42", key(fresh)).await.unwrap(), key("one"));
        assert_eq!(keys.keep(&format!("odd\n\"{fresh}"), key(fresh)).await.unwrap(), key(fresh));
    }
    let keys = KeyFile::open(file(&folder)).unwrap();
    assert_eq!(keys.keep("odd\n\"two", key("x")).await.unwrap(), key("two"));
    keys.forget("order-42").await.unwrap();
    keys.forget("order-42").await.unwrap();
    drop(keys);
    let keys = KeyFile::open(file(&folder)).unwrap();
    assert_eq!(keys.keep("order-42", key("four")).await.unwrap(), key("four"));
}

#[tokio::test]
async fn a_file_that_is_cut_at_any_byte_opens_with_all_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::open(file(&folder)).unwrap();
    for name in ["a", "b", "c"] {
        keys.keep(name, key(&format!("key-{name}"))).await.unwrap();
    }
    drop(keys);
    let whole = fs::read(file(&folder)).unwrap();
    for length in 0..=whole.len() {
        fs::write(file(&folder), &whole[..length]).unwrap();
        let lines = whole[..length].iter().filter(|&&byte| byte == b'\n').count();
        let keys = KeyFile::open(file(&folder)).unwrap();
        // What is written next begins a line of its own.
        assert_eq!(keys.keep("d", key("after")).await.unwrap(), key("after"));
        drop(keys);
        let keys = KeyFile::open(file(&folder)).unwrap();
        for (at, name) in ["a", "b", "c"].iter().enumerate() {
            let expected = if at < lines { format!("key-{name}") } else { "new".to_owned() };
            assert_eq!(keys.keep(name, key("new")).await.unwrap(), key(&expected), "{length} bytes, {name}");
        }
        assert_eq!(keys.keep("d", key("new")).await.unwrap(), key("after"), "{length} bytes");
    }
}

#[test]
fn a_damaged_line_is_told_not_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let good = r#"{"name":"a","kept":{"key":"k","at":1}}"#;
    fs::write(file(&folder), format!("{good}\n{good}\n")).unwrap();
    assert!(KeyFile::open(file(&folder)).is_ok());
    for bad in ["", "{", r#"{"name":"a","kept":{"key":"","at":1}}"#, r#"{"name":"a","other":1}"#, "\0\0\0"] {
        fs::write(file(&folder), format!("{good}\n{bad}\n{good}\n")).unwrap();
        let error = KeyFile::open(file(&folder)).unwrap_err();
        assert!(matches!(error, KeyStoreError::Damaged { line: 2, .. }), "{bad:?}: {error}");
    }
}

#[test]
fn a_second_opening_is_refused_until_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let first = KeyFile::open(file(&folder)).unwrap();
    assert!(matches!(KeyFile::open(file(&folder)), Err(KeyStoreError::InUse { .. })));
    drop(first);
    assert!(KeyFile::open(file(&folder)).is_ok());
    assert!(matches!(KeyFile::open(folder.path().join("none/keys")), Err(KeyStoreError::Io { .. })));
}

#[tokio::test]
async fn it_is_bounded_and_a_name_is_never_driven_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = KeyFile::open_at(&file(&folder), || Duration::from_secs(1_000)).unwrap().with_most(2);
    keys.keep("a", key("a")).await.unwrap();
    keys.keep("b", key("b")).await.unwrap();
    assert!(matches!(keys.keep("c", key("c")).await, Err(KeyStoreError::Full { most: 2 })));
    assert_eq!(keys.keep("a", key("x")).await.unwrap(), key("a"));
    // A second before the age, and at it.
    keys.now = || Duration::from_secs(1_000 + 24 * 60 * 60 - 1);
    assert!(matches!(keys.keep("c", key("c")).await, Err(KeyStoreError::Full { .. })));
    assert_eq!(keys.keep("a", key("x")).await.unwrap(), key("a"));
    keys.now = || Duration::from_secs(1_000 + 24 * 60 * 60);
    assert_eq!(keys.keep("c", key("c")).await.unwrap(), key("c"));
    assert_eq!(keys.keep("a", key("anew")).await.unwrap(), key("anew"));
}

#[tokio::test]
async fn the_file_stays_small_and_what_a_rewriting_left_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.new"), "what a kill left\n".repeat(1_000)).unwrap();
    let keys = KeyFile::open(file(&folder)).unwrap();
    keys.keep("stays", key("stays")).await.unwrap();
    for number in 0..500 {
        keys.keep(&number.to_string(), ClientKey::random().into_key()).await.unwrap();
        keys.forget(&number.to_string()).await.unwrap();
    }
    let lines = fs::read_to_string(file(&folder)).unwrap().lines().count();
    assert!(lines <= 70, "{lines} lines for one name");
    drop(keys);
    let keys = KeyFile::open(file(&folder)).unwrap();
    assert_eq!(keys.keep("stays", key("new")).await.unwrap(), key("stays"));
}

/// As after a kill between the two steps of a rewriting: it must be whole by itself.
#[test]
fn a_rewriting_leaves_nothing_of_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let left = r#"{"name":"old","kept":{"key":"old","at":1}}"#;
    fs::write(folder.path().join("keys.new"), format!("{left}\n").repeat(100)).unwrap();
    let mut log = Log::open(&file(&folder)).unwrap();
    for (name, at) in [("goes", 1), ("stays", 2)] {
        log.put(name.to_owned(), Entry { key: key(name), at: Duration::from_secs(at) }).unwrap();
    }
    log.retain(|entry| entry.at > Duration::from_secs(1)).unwrap();
    drop(log);
    let text = fs::read_to_string(file(&folder)).unwrap();
    assert_eq!(text, "{\"name\":\"stays\",\"kept\":{\"key\":\"stays\",\"at\":2000}}\n");
}

#[tokio::test]
async fn of_many_at_once_all_get_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(KeyFile::open(file(&folder)).unwrap());
    let all = (0..32).map(|_| {
        let keys = keys.clone();
        tokio::spawn(async move { keys.keep("order-42", ClientKey::random().into_key()).await.unwrap() })
    });
    let all: Vec<_> = all.collect();
    let mut found = std::collections::HashSet::new();
    for one in all {
        found.insert(one.await.unwrap());
    }
    assert_eq!(found.len(), 1);
}

/// The lock stands beside the file itself, whatever name it was opened by.
#[cfg(unix)]
#[test]
fn a_file_with_two_names_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other-name");
    std::os::unix::fs::symlink(file(&folder), &other).unwrap();
    for (first, second) in [(file(&folder), other.clone()), (other.clone(), file(&folder))] {
        let opened = KeyFile::open(first).unwrap();
        assert!(matches!(KeyFile::open(second), Err(KeyStoreError::InUse { .. })));
        drop(opened);
    }
    assert!(other.is_symlink());
}

/// It looks like something that a dead process left behind.
#[cfg(unix)]
#[tokio::test]
async fn to_remove_the_lock_beside_it_does_not_let_a_second_in() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::open(file(&folder)).unwrap();
    for names in [0, 200] {
        // Enough of them to have the file made anew.
        for number in 0..names {
            keys.keep(&number.to_string(), key("k")).await.unwrap();
            keys.forget(&number.to_string()).await.unwrap();
        }
        fs::remove_file(folder.path().join("keys.lock")).unwrap();
        assert!(matches!(KeyFile::open(file(&folder)), Err(KeyStoreError::InUse { .. })), "after {names} names");
    }
}

/// What is written to a file that nobody can open any more is not kept.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_removed_under_it_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFile::open(file(&folder)).unwrap();
    keys.keep("before", key("before")).await.unwrap();
    fs::remove_file(file(&folder)).unwrap();
    keys.keep("after", key("after")).await.unwrap();
    drop(keys);
    let keys = KeyFile::open(file(&folder)).unwrap();
    for name in ["before", "after"] {
        assert_eq!(keys.keep(name, key("new")).await.unwrap(), key(name));
    }
    // Another's file in its place is not overwritten.
    fs::remove_file(file(&folder)).unwrap();
    fs::write(file(&folder), "another's").unwrap();
    assert!(matches!(keys.keep("after", key("x")).await, Err(KeyStoreError::Replaced { .. })));
    assert_eq!(fs::read_to_string(file(&folder)).unwrap(), "another's");
}

#[test]
fn an_error_at_the_start_reads_where_main_returns_it() {
    let folder = tempfile::tempdir().unwrap();
    let read = format!("{:?}", KeyFile::open(folder.path()).unwrap_err());
    let begins = format!("the file of keys {} cannot be used: ", folder.path().display());
    assert!(read.starts_with(&begins) && read.len() > begins.len() && !read.contains('{'), "{read}");
}

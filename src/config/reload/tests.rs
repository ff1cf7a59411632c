use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

async fn watch(path: PathBuf) -> FileWatcher<impl Fn() -> Vec<PathBuf>> {
    FileWatcher::begin("test", move || vec![path.clone()]).await
}

#[tokio::test]
async fn a_change_is_seen_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "a").unwrap();
    let mut watch = watch(path.clone()).await;
    assert!(!watch.has_changed().await);
    fs::write(&path, "b").unwrap();
    assert!(watch.has_changed().await);
    assert!(!watch.has_changed().await);
    fs::remove_file(&path).unwrap();
    assert!(watch.has_changed().await);
    assert!(!watch.has_changed().await);
}

#[tokio::test]
async fn a_rewrite_with_the_same_content_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "a").unwrap();
    let mut watch = watch(path.clone()).await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a").unwrap();
    assert!(!watch.has_changed().await);
}

#[tokio::test]
async fn a_swapped_folder_is_a_change_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for version in ["1", "2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("file"), version).unwrap();
    }
    symlink("1", at("data")).unwrap();
    let mut watch = watch(at("data").join("file")).await;
    symlink("2", at("next")).unwrap();
    fs::rename(at("next"), at("data")).unwrap();
    assert!(watch.has_changed().await);
    assert!(!watch.has_changed().await);
}

#[tokio::test(start_paused = true)]
async fn it_loads_at_each_change_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "0").unwrap();
    let watch = watch(path.clone()).await;
    let (stop, metrics) = (
        CancellationToken::new(),
        crate::observability::metrics::Metrics::new(),
    );
    let (loads, stopping) = (Arc::new(AtomicU32::new(0)), stop.clone());
    let (counted, written) = (Arc::clone(&loads), path.clone());
    let load = move || match counted.fetch_add(1, Ordering::SeqCst) {
        0 => fs::write(&written, "1").map_err(|error| error.to_string()),
        _ => {
            stopping.cancel();
            Err("no".to_owned())
        }
    };
    fs::write(&path, "change").unwrap();
    let counts = metrics.reloads("test");
    let asked = watch::Sender::new(());
    let interval = Duration::from_secs(5);
    let receiver = asked.subscribe();
    watch.run(load, interval, receiver, counts, stop).await;
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    let text = metrics.render();
    for result in ["ok", "error"] {
        let line = format!("pai_gateway_reloads_total{{part=\"test\",result=\"{result}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

/// What a file names may be mended without a change of the file.
#[tokio::test(start_paused = true)]
async fn a_failed_reload_is_retried_and_counted_once() {
    let (stop, metrics) = (
        CancellationToken::new(),
        crate::observability::metrics::Metrics::new(),
    );
    let mut scheduler = ReloadScheduler::new(Duration::from_secs(5), stop.clone());
    let (tasks, (sender, mut loads)) = (TaskTracker::new(), watch::channel(0));
    let watch = FileWatcher::begin("test", Vec::new).await;
    let load = move || {
        sender.send_modify(|loads| *loads += 1);
        let loads = *sender.borrow();
        if loads < 4 { Err("no") } else { Ok(()) }
    };
    scheduler.watch(watch, load, metrics.reloads("test"));
    let reload = scheduler.spawn(&tasks);
    reload.request();
    loads.wait_for(|loads| *loads == 4).await.unwrap();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let text = metrics.render();
    for result in ["ok", "error"] {
        let line = format!("pai_gateway_reloads_total{{part=\"test\",result=\"{result}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_loads_when_asked_though_nothing_changed() {
    let (stop, metrics) = (
        CancellationToken::new(),
        crate::observability::metrics::Metrics::new(),
    );
    let mut scheduler = ReloadScheduler::new(Duration::from_secs(3600), stop.clone());
    let (tasks, (sender, mut loads)) = (TaskTracker::new(), watch::channel(0));
    let watch = FileWatcher::begin("test", Vec::new).await;
    let load = move || {
        sender.send_modify(|loads| *loads += 1);
        Ok::<_, String>(())
    };
    scheduler.watch(watch, load, metrics.reloads("test"));
    let reload = scheduler.spawn(&tasks);
    for expected in 1..=2 {
        reload.request();
        loads.changed().await.unwrap();
        assert_eq!(*loads.borrow(), expected);
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

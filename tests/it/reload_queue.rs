//! Many reloads at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use btcpool_exporter::config::Config;
use futures_util::future::join_all;

use crate::harness::{self, Pool, Running};

#[tokio::test]
async fn waiting_reloads_become_one() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let config = harness::config(&pool.base_url(), &harness::one_account());
    let loads = Arc::new(AtomicUsize::new(0));
    let (counter, good) = (loads.clone(), config.clone());
    let load = move || {
        // The first succeeds, the second fails.
        match counter.fetch_add(1, Ordering::SeqCst) {
            1 => Config::from_yaml("test", "api: { timeout: soon }", &Default::default()),
            _ => Ok(good.clone()),
        }
    };
    let running = Running::builder(config).load(load).start().await;
    let results = join_all((0..200).map(|_| running.reload())).await;
    // One that runs, and one for all that came meanwhile: they must see what the files held when they came.
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    let results: Vec<_> = results.into_iter().map(|result| result.map_err(|error| error.to_string())).collect();
    assert_eq!(results[0], Ok(()));
    let message = "test:1:8: api.timeout: \"soon\" is not a duration such as 15s, 5m or 1h30m";
    assert!(results[1..].iter().all(|result| *result == Err(message.to_owned())), "{:?}", results[1]);
    // A later one reads the files again.
    assert!(running.reload().await.is_ok());
    assert_eq!(loads.load(Ordering::SeqCst), 3);
    running.stop().await.unwrap();
}

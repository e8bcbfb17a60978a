//! The disk cache under pressure: bytes, queue, waits and many users.

use super::*;

/// How many use one cache at once; as many assets are removed.
const USERS: usize = 8;

#[tokio::test]
async fn the_bound_holds_at_every_moment_of_a_burst() {
    let bytes_max = 40 * BLOCK_BYTES as u64;
    let mut setup = Setup::new(bytes_max);
    let (mut seen, mut looks) = (0, 0);
    for number in 0..200 {
        asset(number, 2 * BLOCK_BYTES + 100).offer(&setup.cache);
        asset(1_000 + number, 700).offer(&setup.cache);
        tokio::task::yield_now().await;
        // Looked at while the keeper writes; a file that is renamed meanwhile may be seen twice.
        let (_, bytes) = setup.files();
        (seen, looks) = (seen.max(bytes), looks + 1);
        assert!(bytes <= bytes_max + BLOCK_BYTES as u64, "{bytes} after {number}");
        if number % 10 == 0 {
            setup.cache.settled().await;
            let (count, bytes) = setup.files();
            assert!(bytes <= bytes_max, "{bytes}");
            assert_eq!((setup.cache.blocks(), setup.cache.bytes()), (count as u64, bytes));
        }
    }
    assert!(seen > bytes_max / 2 && looks == 200, "{seen}");
    setup.cache.settled().await;
    setup.restart(bytes_max / 4).await;
    let (count, bytes) = setup.files();
    assert!(
        bytes <= bytes_max / 4 && bytes > bytes_max / 8,
        "a smaller bound holds after the start: {bytes}"
    );
    assert_eq!((setup.cache.blocks(), setup.cache.bytes()), (count as u64, bytes));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_what_is_offered() {
    let setup = Setup::new(ROOMY);
    setup.cache.settled().await;
    let room = QUEUE_BYTES / BLOCK_BYTES;
    let asset = asset(1, (room + 10) * BLOCK_BYTES);
    // Nothing is awaited: the keeper cannot write meanwhile.
    asset.blocks.iter().enumerate().for_each(|(at, block)| {
        setup.cache.put_block(asset.upload, at as u64, block);
    });
    assert_eq!(setup.tier().shared.queue.available_permits(), 0);
    setup.cache.settled().await;
    assert_eq!(asset.kept(&setup.cache).await, (0..room).collect::<Vec<_>>());
    assert_eq!(
        setup.tier().shared.queue.available_permits(),
        QUEUE_BYTES,
        "written bytes give their room back"
    );
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_costs_one_short_wait_and_is_left_alone_then() {
    let setup = Setup::new(ROOMY);
    let asset = asset(1, 3 * BLOCK_BYTES);
    asset.offer(&setup.cache);
    setup.cache.settled().await;
    let places = u32::try_from(READS_MAX).unwrap();
    let hanging = setup.tier().shared.reads.clone().acquire_many_owned(places).await.unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        assert!(asset.kept(&setup.cache).await.is_empty());
    }
    assert!(began.elapsed() < 2 * PATIENCE, "{:?}", began.elapsed());
    drop(hanging);
    assert!(asset.kept(&setup.cache).await.is_empty(), "it rests");
    tokio::time::sleep(REST).await;
    assert_eq!(asset.kept(&setup.cache).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_happens_at_once_no_wrong_byte_is_returned_and_the_books_agree() {
    let bytes_max = 64 * BLOCK_BYTES as u64;
    let setup = Setup::new(bytes_max);
    let assets: Arc<Vec<_>> = Arc::new((0..40).map(|number| asset(number, 3 * BLOCK_BYTES + 5)).collect());
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let (cache, assets, folder) = (setup.cache.clone(), assets.clone(), setup.folder());
            setup.tasks.spawn("user", async move {
                for round in 0..60 {
                    let number = (user * 7 + round * 11) % assets.len();
                    let asset = &assets[number];
                    asset.offer(&cache);
                    // It fails where a block is wrong.
                    asset.kept(&cache).await;
                    if round % 20 == 19 {
                        cache.settled().await;
                        cache.remove(assets[user].upload);
                        // Somebody deletes a part of the others.
                        if number >= USERS {
                            let _ = fs::remove_dir_all(folder.join(piece::folder_of(asset.upload)));
                        }
                    }
                }
            })
        })
        .collect();
    for user in users {
        assert_eq!(user.await.unwrap(), Some(()), "no user panicked");
    }
    setup.cache.settled().await;
    // What is missing is noticed when it is asked for; said outright, no deadline can come in between.
    for asset in assets.iter() {
        let blocks = (0..asset.blocks.len() as u64).map(|at| Piece::block(asset.upload, at));
        for piece in blocks.chain([Piece::list(asset.upload)]) {
            setup.tier().jobs.send(Job::Missing(piece)).await.ok().unwrap();
        }
    }
    setup.cache.settled().await;
    let (count, bytes) = setup.files();
    assert!(bytes <= bytes_max && count > 0);
    assert_eq!((setup.cache.blocks(), setup.cache.bytes()), (count as u64, bytes));
    assert_eq!(setup.damaged(), 0);
}

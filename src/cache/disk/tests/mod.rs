//! The disk cache against real files. Time is paused: it stands still while blocking work runs, so no
//! deadline depends on how busy the machine is.

mod bounds;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::asset::{BLOCK_BYTES, BlockHasher};

/// Large enough to keep all that most tests offer.
const ROOMY: u64 = 64 << 20;

/// An asset and its blocks.
struct Asset {
    upload: UploadId,
    blocks: Vec<Bytes>,
    list: Arc<BlockList>,
}

fn asset(number: u64, size: usize) -> Asset {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let blocks: Vec<_> = bytes.chunks(BLOCK_BYTES).map(Bytes::copy_from_slice).collect();
    let mut hasher = BlockHasher::new();
    blocks.iter().for_each(|block| hasher.push(block.clone()));
    let upload = UploadId::new(number, u128::from(number) * 0x9e37_79b9_7f4a_7c15);
    Asset { upload, blocks, list: Arc::new(hasher.finish()) }
}

impl Asset {
    fn offer(&self, cache: &DiskCache) {
        cache.put_list(self.upload, &self.list);
        self.blocks.iter().enumerate().for_each(|(at, block)| {
            cache.put_block(self.upload, at as u64, block);
        });
    }

    /// Tells which blocks the cache returns, each of them right.
    async fn kept(&self, cache: &DiskCache) -> Vec<usize> {
        let mut kept = Vec::new();
        for (at, block) in self.blocks.iter().enumerate() {
            if let Some(read) = cache.block(self.upload, at as u64, &self.list).await {
                assert_eq!(read, *block);
                kept.push(at);
            }
        }
        kept
    }

    async fn list_is_kept(&self, cache: &DiskCache) -> bool {
        cache.list(self.upload, self.list.hash(), self.list.size()).await.is_some()
    }
}

/// A cache that can be restarted.
struct Setup {
    path: PathBuf,
    tasks: Tasks,
    cache: DiskCache,
    telemetry: Telemetry,
    _temporary: Option<tempfile::TempDir>,
}

impl Setup {
    fn new(bytes_max: u64) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("cache");
        Self { _temporary: Some(temporary), ..Self::at(path, bytes_max) }
    }

    fn at(path: PathBuf, bytes_max: u64) -> Self {
        let (tasks, telemetry) = (Tasks::new(), Telemetry::new());
        let cache = DiskCache::open(&path, bytes_max, &tasks, telemetry.clone(), Clock::system());
        Self { path, tasks, cache, telemetry, _temporary: None }
    }

    async fn restart(&mut self, bytes_max: u64) {
        self.tasks.shut_down(Duration::from_secs(5)).await;
        let Self { tasks, cache, telemetry, .. } = Self::at(self.path.clone(), bytes_max);
        (self.tasks, self.cache, self.telemetry) = (tasks, cache, telemetry);
        self.cache.settled().await;
    }

    fn folder(&self) -> PathBuf {
        self.path.join("triplicate-blocks")
    }

    fn file(&self, piece: Piece) -> PathBuf {
        self.folder().join(piece.path())
    }

    /// All files below the folder but the lock, and what they take up.
    fn files(&self) -> (usize, u64) {
        let entries = walkdir::WalkDir::new(self.folder()).into_iter().filter_map(Result::ok);
        let files = entries.filter(|entry| entry.file_type().is_file() && entry.file_name() != "lock");
        files.fold((0, 0), |(count, bytes), entry| {
            (count + 1, bytes + entry.metadata().map_or(0, |metadata| index::cost(metadata.len())))
        })
    }

    fn tier(&self) -> &Arc<Tier> {
        self.cache.0.as_ref().unwrap()
    }

    fn damaged(&self) -> u64 {
        self.telemetry.metrics().cache_disk_damaged.get()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_comes_back_after_a_restart() {
    let mut setup = Setup::new(ROOMY);
    let assets = [asset(1, 5), asset(2, BLOCK_BYTES), asset(3, 5 * BLOCK_BYTES + 9)];
    assets.iter().for_each(|asset| asset.offer(&setup.cache));
    setup.cache.settled().await;
    let (bytes, blocks) = (setup.cache.bytes(), setup.cache.blocks());
    assert_eq!((blocks, bytes), (1 + 1 + 6 + 1, 4_096 + 65_536 + 5 * 65_536 + 4_096 + 4_096));
    for restarted in [false, true] {
        if restarted {
            setup.restart(ROOMY).await;
        }
        for asset in &assets {
            assert_eq!(asset.kept(&setup.cache).await.len(), asset.blocks.len());
            assert!(asset.list_is_kept(&setup.cache).await);
        }
        assert_eq!((setup.cache.bytes(), setup.cache.blocks()), (bytes, blocks));
        assert_eq!(setup.files(), (9, bytes));
        assert_eq!(setup.telemetry.metrics().cache_disk_hits.get(), 8);
    }
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = setup.file(Piece::block(assets[0].upload, 0));
    assert_eq!(mode(file.clone()), 0o600);
    assert_eq!((mode(setup.folder()), mode(file.parent().unwrap().to_owned())), (0o700, 0o700));
}

#[tokio::test(start_paused = true)]
async fn what_is_offered_before_a_stop_is_written() {
    let mut setup = Setup::new(ROOMY);
    let asset = asset(1, 100 * BLOCK_BYTES);
    asset.offer(&setup.cache);
    setup.restart(ROOMY).await;
    assert_eq!(asset.kept(&setup.cache).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn damaged_files_are_misses_and_are_removed() {
    let setup = Setup::new(ROOMY);
    let asset = asset(1, 4 * BLOCK_BYTES);
    let harms: [fn(&mut Vec<u8>); 4] =
        [|bytes| bytes[70] ^= 1, |bytes| bytes.truncate(bytes.len() - 1), |bytes| bytes.push(0), Vec::clear];
    for (round, harm) in (1..).zip(harms) {
        asset.offer(&setup.cache);
        setup.cache.settled().await;
        assert_eq!(asset.kept(&setup.cache).await, [0, 1, 2, 3]);
        for piece in [Piece::block(asset.upload, 2), Piece::list(asset.upload)] {
            let mut bytes = fs::read(setup.file(piece)).unwrap();
            harm(&mut bytes);
            fs::write(setup.file(piece), bytes).unwrap();
        }
        assert_eq!(asset.kept(&setup.cache).await, [0, 1, 3], "round {round}");
        assert!(!asset.list_is_kept(&setup.cache).await, "round {round}");
        setup.cache.settled().await;
        assert_eq!(setup.damaged(), 2 * round);
        assert!(!setup.file(Piece::block(asset.upload, 2)).exists());
        assert!(!setup.file(Piece::list(asset.upload)).exists());
        assert_eq!((setup.cache.blocks(), setup.files().0), (3, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_in_the_place_of_another_is_not_served() {
    let setup = Setup::new(ROOMY);
    let asset = asset(1, 2 * BLOCK_BYTES);
    asset.offer(&setup.cache);
    setup.cache.settled().await;
    let [first, second] = [0, 1].map(|index| setup.file(Piece::block(asset.upload, index)));
    fs::copy(first, &second).unwrap();
    assert_eq!(asset.kept(&setup.cache).await, [0]);
    // A folder in the place of a file goes too.
    fs::create_dir(setup.file(Piece::block(asset.upload, 7))).unwrap();
    fs::remove_file(setup.file(Piece::block(asset.upload, 0))).unwrap();
    fs::create_dir(setup.file(Piece::block(asset.upload, 0))).unwrap();
    assert!(asset.kept(&setup.cache).await.is_empty());
    setup.cache.settled().await;
    assert!(!setup.file(Piece::block(asset.upload, 0)).exists());
}

#[tokio::test(start_paused = true)]
async fn a_start_clears_away_what_is_not_ours() {
    let mut setup = Setup::new(ROOMY);
    let asset = asset(1, 2 * BLOCK_BYTES);
    asset.offer(&setup.cache);
    setup.cache.settled().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    fs::write(setup.path.join("neighbour"), "not below the folder of the blocks").unwrap();
    let own = setup.file(Piece::block(asset.upload, 0)).parent().unwrap().to_owned();
    fs::write(setup.folder().join("unfinished"), "half of a block").unwrap();
    fs::write(own.join("alien"), "x").unwrap();
    fs::write(own.join(format!("{}-8", asset.upload)), vec![0; BLOCK_BYTES + 1]).unwrap();
    fs::write(own.join(format!("{}-9", asset.upload)), "").unwrap();
    fs::create_dir_all(setup.folder().join("other/folder")).unwrap();
    std::os::unix::fs::symlink(outside.path(), setup.folder().join("0a0")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("precious"), own.join("link")).unwrap();
    setup.restart(ROOMY).await;
    assert_eq!((setup.files(), setup.cache.blocks()), ((3, setup.cache.bytes()), 3));
    assert_eq!(asset.kept(&setup.cache).await, [0, 1]);
    assert!(outside.path().join("precious").exists() && setup.path.join("neighbour").exists());
    assert!(!setup.folder().join("other").exists() && own.join("link").symlink_metadata().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_vanishes_is_a_miss_and_is_made_again() {
    let setup = Setup::new(ROOMY);
    let before = asset(1, 3 * BLOCK_BYTES);
    let own = setup.file(Piece::list(before.upload)).parent().unwrap().to_owned();
    for (round, (vanishing, left)) in (2..).zip([(setup.path.clone(), 4), (setup.folder(), 4), (own, 8)]) {
        before.offer(&setup.cache);
        setup.cache.settled().await;
        assert_eq!(before.kept(&setup.cache).await.len(), 3);
        fs::remove_dir_all(&vanishing).unwrap();
        assert!(before.kept(&setup.cache).await.is_empty());
        assert!(!before.list_is_kept(&setup.cache).await);
        let after = asset(round, 3 * BLOCK_BYTES);
        after.offer(&setup.cache);
        setup.cache.settled().await;
        assert_eq!(after.kept(&setup.cache).await.len(), 3, "{}", vanishing.display());
        assert_eq!((setup.cache.blocks(), setup.files().0), (left, left as usize), "all know what is gone");
    }
    assert_eq!(setup.damaged(), 0, "what is gone is not damaged");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_cannot_be_used_turns_the_tier_off_until_it_can() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("cache");
    fs::write(&path, "a file").unwrap();
    let setup = Setup::at(path.clone(), ROOMY);
    let asset = asset(1, 3 * BLOCK_BYTES);
    setup.cache.settled().await;
    asset.offer(&setup.cache);
    setup.cache.settled().await;
    assert!(asset.kept(&setup.cache).await.is_empty());
    assert_eq!((setup.cache.bytes(), setup.cache.blocks()), (0, 0));
    fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    setup.cache.settled().await;
    asset.offer(&setup.cache);
    setup.cache.settled().await;
    assert_eq!(asset.kept(&setup.cache).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_costs_neither_reads_nor_the_count() {
    let setup = Setup::new(ROOMY);
    let (before, after) = (asset(1, 3 * BLOCK_BYTES), asset(2, 3 * BLOCK_BYTES));
    before.offer(&setup.cache);
    setup.cache.settled().await;
    // A folder where the unfinished file should be: nobody can write, root neither.
    fs::create_dir(setup.folder().join("unfinished")).unwrap();
    after.offer(&setup.cache);
    setup.cache.settled().await;
    assert_eq!(before.kept(&setup.cache).await.len(), 3);
    assert!(after.kept(&setup.cache).await.is_empty());
    assert_eq!((setup.cache.blocks(), setup.files().0), (4, 4));
    // The next look, a minute later, clears it away.
    tokio::time::sleep(Duration::from_secs(61)).await;
    setup.cache.settled().await;
    after.offer(&setup.cache);
    setup.cache.settled().await;
    assert_eq!(after.kept(&setup.cache).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn another_gateway_and_a_link_are_kept_out() {
    let setup = Setup::new(ROOMY);
    setup.cache.settled().await;
    let asset = asset(1, BLOCK_BYTES);
    let second = Setup::at(setup.path.clone(), ROOMY);
    second.cache.settled().await;
    asset.offer(&second.cache);
    second.cache.settled().await;
    assert!(asset.kept(&second.cache).await.is_empty());
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    fs::create_dir(setup.path.join("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path(), setup.path.join("linked/triplicate-blocks")).unwrap();
    let linked = Setup::at(setup.path.join("linked"), ROOMY);
    linked.cache.settled().await;
    asset.offer(&linked.cache);
    linked.cache.settled().await;
    assert!(outside.path().join("precious").exists());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_upload_is_a_miss_at_once_and_its_files_go() {
    let mut setup = Setup::new(ROOMY);
    let (gone, stays) = (asset(1, 3 * BLOCK_BYTES), asset(0x101, 3 * BLOCK_BYTES));
    [&gone, &stays].into_iter().for_each(|asset| asset.offer(&setup.cache));
    setup.cache.settled().await;
    setup.cache.remove(gone.upload);
    assert!(gone.kept(&setup.cache).await.is_empty() && !gone.list_is_kept(&setup.cache).await);
    setup.cache.settled().await;
    assert_eq!((setup.files().0, setup.cache.blocks()), (4, 4));
    // A read that was under way offers what it has.
    gone.offer(&setup.cache);
    setup.cache.settled().await;
    assert_eq!((setup.files().0, setup.cache.blocks()), (4, 4));
    setup.restart(ROOMY).await;
    assert!(gone.kept(&setup.cache).await.is_empty() && !gone.list_is_kept(&setup.cache).await);
    assert_eq!(stays.kept(&setup.cache).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn large_assets_are_not_kept_and_off_keeps_nothing() {
    let setup = Setup::new(8 * 65_536);
    assert!(setup.cache.keeps(65_536) && !setup.cache.keeps(65_537));
    let large = asset(1, 2 * BLOCK_BYTES);
    setup.cache.put_list(large.upload, &large.list);
    setup.cache.settled().await;
    assert_eq!(setup.cache.blocks(), 0);
    let temporary = tempfile::tempdir().unwrap();
    let off = Setup::at(temporary.path().join("cache"), 0);
    let asset = asset(2, 10);
    asset.offer(&off.cache);
    off.cache.settled().await;
    assert!(!off.cache.keeps(0) && asset.kept(&off.cache).await.is_empty());
    assert!(!off.path.exists());
}

//! Openraft's own cases for a storage, on the real disk.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_rt_tokio::TokioRuntime;
use tempfile::TempDir;

use crate::lifecycle::State;
use crate::token::StoreId;

use super::audit::Auditor;
use super::disk::{DiskLock, RealDisk};
use super::live::Live;
use super::log::{self, LogStore, Place};
use super::machine::{Machine, Shared};
use super::snapshot::Snapshots;
use super::types::TypeConfig;

type Config = TypeConfig<TokioRuntime>;

struct Builder;

impl StoreBuilder<Config, LogStore<TokioRuntime>, Machine<TokioRuntime>, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, LogStore<TokioRuntime>, Machine<TokioRuntime>), StorageError<Config>>
    {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk);
        let store_id = StoreId([7; 16]);
        let recovered = log::read(Place {
            disk: disk.clone(),
            dir: dir.path().to_path_buf(),
            store_id,
            // Small, so that the cases go over several segments.
            segment_bytes: 500,
            salt: 1,
        })
        .and_then(log::Found::resume)
        .unwrap();
        let (log, _, _) = log::start(recovered);
        let lock: DiskLock = Box::new(());
        let snapshots = Snapshots::new(disk, dir.path().to_path_buf(), store_id, Arc::new(lock));
        let machine = Machine::new(
            Arc::new(Live::new(State::new())),
            Shared::default(),
            snapshots,
            Auditor::new(None, 0),
        );
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_finds_no_fault_with_the_storage() {
    Suite::test_all(Builder).await.unwrap();
}

//! Data sets that are loaded beside the old one, while the old one still serves (`repl-diskless-load swapdb`).
//! Until the new one takes its place its tubes are no keys yet, so their names are gathered here.

use std::cell::RefCell;

use crate::broker::News;

use super::api::{self, Ctx, RedisModuleIO};
use super::state;

/// Database and name of a tube.
type Place = (u32, Box<[u8]>);

thread_local! {
    static GATHERED: RefCell<Option<Vec<Place>>> = const { RefCell::new(None) };
}

/// Such a load begins.
pub(super) fn begin() {
    GATHERED.set(Some(Vec::new()));
}

/// A tube was loaded.
pub(super) fn loaded(io: *mut RedisModuleIO) {
    GATHERED.with_borrow_mut(|gathered| {
        if let Some(gathered) = gathered {
            gathered.extend(api::name_in_io(io));
        }
    });
}

/// The load failed: the old data set stays.
pub(super) fn abort() {
    GATHERED.set(None);
}

/// The new data set has taken the old one's place.
pub(super) fn complete(ctx: Ctx) {
    let Some(gathered) = GATHERED.take() else { return };
    state::tell(News::Flushed(None));
    // Redis up to 7.2 calls each of the databases that it loads into 0. The broker looks at the keys anyway, and
    // nothing comes of those that are not there.
    let dbs = if gathered.iter().all(|(db, _)| *db == 0) { ctx.used_dbs() } else { Vec::new() };
    for (db, name) in gathered {
        for db in dbs.iter().copied().filter(|other| *other != db) {
            state::tell(News::Here { db, name: name.clone() });
        }
        state::tell(News::Here { db, name });
    }
}

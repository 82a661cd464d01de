//! What the data of the founding object say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ownership::FormerStores;
use crate::founding::Founding;
use crate::token::StoreId;

/// The stores that the one which is named was made of, or has taken the place of: their ids, with spaces in between.
pub(super) const FORMER: &str = "former-store-ids";

/// Which object this was written for, `<namespace>/<name>`. A copy elsewhere says so, and is not what the store goes by.
pub(super) const OBJECT: &str = "object";

/// The key of the data that says how far the store's log has been.
pub(super) const REACHED: &str = "reached";
pub(super) fn data_of(founding: Founding) -> BTreeMap<String, String> {
    [
        ("store-id".to_owned(), founding.store_id.to_string()),
        ("epoch".to_owned(), founding.epoch.to_string()),
    ]
    .into()
}

/// Makes it the next store's, which takes the place of the one that was there. Only if that one goes by this very object:
/// then it sees that it is exchanged, and stops. It does not see what becomes of a copy, and its resources stay its own.
pub(super) fn exchange_data(
    data: &mut BTreeMap<String, String>,
    there: Founding,
    next: Founding,
    object: String,
) {
    let is_its_own = data.get(OBJECT) == Some(&object);
    data.extend(data_of(next));
    data.insert(OBJECT.to_owned(), object);
    // The former store's.
    data.remove(REACHED);
    if is_its_own {
        name_former(data, &[there.store_id]);
    } else {
        data.remove(FORMER);
    }
}

/// What cannot be read names no store.
pub(super) fn former_of(data: &BTreeMap<String, String>) -> FormerStores {
    let named = data.get(FORMER).map(String::as_str).unwrap_or_default();
    let ids = named.split_ascii_whitespace();
    Arc::new(ids.filter_map(|id| id.parse().ok()).collect())
}

/// Adds those that are not named yet; whether there were any.
pub(super) fn name_former(data: &mut BTreeMap<String, String>, more: &[StoreId]) -> bool {
    let ours: Option<StoreId> = data.get("store-id").and_then(|id| id.parse().ok());
    let before = former_of(data);
    let mut former = (*before).clone();
    former.extend(more);
    former.retain(|id| Some(*id) != ours);
    if former == *before {
        return false;
    }
    let ids: Vec<String> = former.iter().map(StoreId::to_string).collect();
    data.insert(FORMER.to_owned(), ids.join(" "));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_stores_are_named_once_and_never_the_store_itself() {
        let [ours, lost, older] = [1, 2, 3].map(|byte| StoreId([byte; 16]));
        let mut data = data_of(Founding {
            store_id: ours,
            epoch: 3,
        });
        assert!(!name_former(&mut data, &[]));
        assert_eq!(data.get(FORMER), None);
        assert!(name_former(&mut data, &[lost, ours]));
        assert!(name_former(&mut data, &[older, lost]));
        assert!(!name_former(&mut data, &[older, lost, ours]));
        assert_eq!(data[FORMER], format!("{lost} {older}"));
        assert_eq!(*former_of(&data), [lost, older].into());
        data.insert(FORMER.to_owned(), format!("nonsense {lost}"));
        assert_eq!(*former_of(&data), [lost].into());
    }

    #[test]
    fn only_the_object_that_a_store_goes_by_hands_its_resources_down() {
        let [older, there, next] = [1, 2, 3].map(|byte| Founding {
            store_id: StoreId([byte; 16]),
            epoch: byte.into(),
        });
        let exchanged = |object: Option<&str>| {
            let mut data = data_of(there);
            data.insert(REACHED.to_owned(), "1.2".to_owned());
            data.insert(FORMER.to_owned(), older.store_id.to_string());
            if let Some(object) = object {
                data.insert(OBJECT.to_owned(), object.to_owned());
            }
            exchange_data(&mut data, there, next, "here/x".to_owned());
            assert_eq!(data["store-id"], next.store_id.to_string());
            assert_eq!(data.get(REACHED), None);
            assert_eq!(data[OBJECT], "here/x");
            former_of(&data)
        };
        let both = [older.store_id, there.store_id].into();
        assert_eq!(*exchanged(Some("here/x")), both);
        assert_eq!(*exchanged(Some("there/x")), [].into());
        assert_eq!(*exchanged(None), [].into());
    }
}

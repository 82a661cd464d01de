//! How the founding object is written.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

const OURS: Founding = Founding {
    store_id: StoreId([1; 16]),
    epoch: 3,
};

/// An API server with the object of `OURS`, on which somebody else writes before each of the first `conflicts` writes; how
/// many writes it was asked for.
fn server(conflicts: usize) -> (FoundingConfigMap, Arc<Mutex<usize>>) {
    let asked = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&asked);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "jointoken-founding", "namespace": "home", "resourceVersion": "1"},
        "data": data_of(OURS),
    });
    let there = Arc::new(Mutex::new(object));
    let service = service_fn(move |request: Request<Body>| {
        let (noted, there) = (Arc::clone(&noted), Arc::clone(&there));
        async move {
            let is_write = request.method() == Method::PUT;
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut there = there.lock().unwrap();
            let mut asked = noted.lock().unwrap();
            let mut status = StatusCode::OK;
            let mut answer = there.clone();
            if is_write {
                *asked += 1;
                if *asked <= conflicts {
                    status = StatusCode::CONFLICT;
                    answer = json!({
                        "kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409, "message": "changed",
                    });
                } else {
                    *there = serde_json::from_slice::<Value>(&body).unwrap();
                    answer = there.clone();
                }
            }
            let body = Body::from(answer.to_string().into_bytes());
            let mut response = Response::new(body);
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    let client = Client::new(service, "home");
    (FoundingConfigMap::new(client, "home", "jointoken"), asked)
}

/// Each of the three: exchanges, adds, raises.
async fn write(object: &FoundingConfigMap, which: usize) -> Result<(), VaultError> {
    let other = StoreId([2; 16]);
    let next = Founding {
        store_id: other,
        epoch: 4,
    };
    let reached = Reached {
        term: 1,
        node: 7,
        index: 9,
    };
    match which {
        0 => object.swap(OURS, next).await.map(|made| {
            assert_eq!(made, Creation::Created);
        }),
        1 => object.add_former(&[other]).await,
        _ => object.raise(OURS.store_id, reached).await.map(drop),
    }
}

#[tokio::test]
async fn a_write_that_somebody_else_came_before_is_repeated_and_not_for_ever() {
    for which in 0..3 {
        let (object, asked) = server(2);
        write(&object, which).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), 3);
        let (object, asked) = server(usize::MAX);
        let error = write(&object, which).await.unwrap_err().to_string();
        for says in ["ConfigMap home/jointoken-founding", "all the time"] {
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(*asked.lock().unwrap(), TRIES);
    }
    // What is there already, or is another store's, is not written.
    let (object, asked) = server(0);
    let reached = Reached {
        term: 1,
        node: 7,
        index: 9,
    };
    for index in [9, 8] {
        let lower = Reached { index, ..reached };
        let now = object.raise(OURS.store_id, lower).await.unwrap();
        assert_eq!(now.reached, Some(reached));
    }
    let stranger = Founding {
        store_id: StoreId([7; 16]),
        epoch: 1,
    };
    let made = object.swap(stranger, OURS).await.unwrap();
    assert_eq!(made, Creation::Created, "it says so already");
    let made = object.swap(stranger, stranger).await.unwrap();
    assert_eq!(made, Creation::Exists(OURS));
    assert!(object.raise(stranger.store_id, reached).await.is_err());
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[tokio::test]
async fn the_object_tells_for_which_it_was_written_and_whether_the_volumes_are_current() {
    let (object, _) = server(0);
    let told = |data: Value, current: &str| {
        let metadata = json!({"name": "jointoken-founding", "uid": "u-1", "annotations": {VOLUMES_ARE_CURRENT: current}});
        let found = json!({"metadata": metadata, "data": data});
        let remembered = object.remembered_in(&serde_json::from_value(found).unwrap());
        assert_eq!(remembered.object.as_deref(), Some("u-1"));
        (remembered.folders_are_current, remembered.written_for)
    };
    let itself = json!({OBJECT: "home/jointoken-founding"});
    assert_eq!(told(itself.clone(), "u-1"), (true, WrittenFor::Itself));
    assert_eq!(told(itself, "u-0"), (false, WrittenFor::Itself));
    assert_eq!(told(json!({}), "u-1"), (true, WrittenFor::Untold));
    for another in ["away/jointoken-founding", "home/other-founding", ""] {
        let written_for = WrittenFor::Another(another.to_owned());
        assert_eq!(told(json!({OBJECT: another}), "u-1"), (true, written_for));
    }
}

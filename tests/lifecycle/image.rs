//! The image of the state: the same bytes for the same log, and nothing else is read.

use std::net::IpAddr;

use jointoken::lifecycle::command::{Begin, Bindings, Register, Revert};
use jointoken::lifecycle::{ImageError, Issuance, State};
use proptest::prelude::*;

use crate::support::*;

/// A state with something of everything.
fn rich() -> Store {
    let mut store = Store::founded();
    store.configure(|settings| settings.remember_issuances_ms = Some(30 * DAY));
    store.admit(1, 1);
    store.admit(2, 2);
    store.apply(Register {
        issuance: Issuance {
            name: "n3".into(),
            ..n1()
        },
        token_id: token(3),
        max_claims: Some(3),
        in_flight_timeout_ms: Some(MINUTE),
        bindings: Bindings {
            source_cidrs: vec![
                "192.0.2.0/24".parse().expect("a range"),
                "2001:db8::/32".parse().expect("a range"),
            ],
            joiner: Some(B),
        },
        ..register()
    });
    store.apply(begin_as(3, B));
    store.apply(revert(3));
    store.apply(Begin {
        address: Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
        ..begin_as(3, B)
    });
    store.apply(begin_as(2, B));
    for number in 4..8 {
        store.apply(Begin {
            registration: Some(offline()),
            address: None,
            ..begin_as(number, A)
        });
    }
    store.apply(Revert {
        token_id: token(4),
        ..revert(4)
    });
    store.apply(consume_as(5, A));
    store.apply(acknowledge_as(5, A));
    store.apply(abort(6));
    store.apply(abort(9));
    store
}

#[test]
fn what_is_written_is_read() {
    let store = rich();
    let image = store.state.encode();
    let read = State::decode(&image).expect("an image");
    assert_eq!(read.encode(), image);
    assert_eq!(read.hash(), store.state.hash());
    assert_eq!(read.next_due_ms(), store.state.next_due_ms());
    let records = |state: &State| state.records().collect::<Vec<_>>();
    assert_eq!(records(&read), records(&store.state));
    let issuances = |state: &State| state.issuances().collect::<Vec<_>>();
    assert_eq!(issuances(&read), issuances(&store.state));
    assert_eq!(
        (read.keys(), read.settings(), read.founded()),
        (
            store.state.keys(),
            store.state.settings(),
            store.state.founded()
        )
    );
}

/// An image of this format, written once and never again: later releases must read it, and write
/// the same bytes as long as they write this format.
#[test]
fn the_first_format_is_read_for_ever() {
    let golden = include_bytes!("golden/state-1.image");
    let state = State::decode(golden).expect("an image of the first format");
    assert_eq!(state.encode(), golden);
    assert_eq!(state.hash().to_string(), "9bdd06def9d7a20e41261cb7c973d252");
    assert_eq!(state.record_count(), 8);
    let mut store = Store {
        state,
        index: 100,
        at_ms: START,
    };
    assert_eq!(
        store.after(token(2)),
        "Consumed revision 2 reissue 0 attempt 1 by A leaf contested"
    );
    assert_eq!(said(&store.apply(begin_as(2, A)).outcome), "Redeliver leaf");
    assert_eq!(said(&store.apply(register()).outcome), "Superseded by 2");
}

#[test]
fn an_image_appends_to_what_is_there() {
    let state = rich().state;
    let mut out = b"before".to_vec();
    state.write_image(&mut out);
    assert_eq!(out[6..], state.encode());
}

#[test]
fn the_hash_tells_states_apart() {
    let mut store = rich();
    let mut hashes = vec![store.state.hash()];
    store.apply(acknowledge_as(2, A));
    hashes.push(store.state.hash());
    store.apply(acknowledge_as(2, A));
    assert_eq!(Some(&store.state.hash()), hashes.last(), "nothing changed");
    store.wait(1).apply(sweep());
    hashes.push(store.state.hash());
    store.configure(|settings| settings.retention_ms += 1);
    hashes.push(store.state.hash());
    let different: std::collections::HashSet<_> = hashes.iter().collect();
    assert_eq!(different.len(), hashes.len());
}

#[test]
fn an_image_says_what_is_wrong_with_it() {
    let image = rich().state.encode();
    let with = |at: usize, bytes: &[u8]| {
        let mut image = image.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        State::decode(&image).err()
    };
    assert_eq!(State::decode(b"").err(), Some(ImageError::NotAnImage));
    assert_eq!(with(0, b"J"), Some(ImageError::NotAnImage));
    assert_eq!(with(8, &[3, 0]), Some(ImageError::UnknownVersion(3)));
    assert_eq!(with(10, &[9, 0, 0, 0]), Some(ImageError::UnknownRules(9)));
    assert_eq!(
        with(image.len() - 1, &[!image[image.len() - 1]]),
        Some(ImageError::HashMismatch)
    );
    let mut longer = image.clone();
    longer.push(0);
    assert_eq!(State::decode(&longer).err(), Some(ImageError::Trailing));
    for length in 0..image.len() {
        let error = State::decode(&image[..length]).expect_err("an image cut short");
        assert!(
            matches!(error, ImageError::Truncated | ImageError::NotAnImage),
            "{length}: {error}"
        );
    }
}

/// Every byte counts.
#[test]
fn no_changed_bit_is_read() {
    let image = rich().state.encode();
    for at in 0..image.len() {
        let bit = at % 8;
        let mut damaged = image.clone();
        damaged[at] ^= 1 << bit;
        assert!(State::decode(&damaged).is_err(), "bit {bit} of byte {at}");
    }
}

/// A length that promises more than there is takes no memory.
#[test]
fn lengths_are_not_believed() {
    let mut image = State::new().encode();
    let keys = image.len() - 16 - 4 - 4 - 4;
    for at in [keys, keys + 4, keys + 8] {
        let zero = image[at..at + 4].to_vec();
        assert_eq!(zero, [0; 4]);
        image[at..at + 4].copy_from_slice(&[0xff; 4]);
        assert_eq!(State::decode(&image).err(), Some(ImageError::Truncated));
        image[at..at + 4].copy_from_slice(&zero);
    }
    assert!(State::decode(&image).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_can_be_borne(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(State::decode(&bytes).is_err());
        let mut headed = b"jtstate\n\x01\0\x01\0\0\0".to_vec();
        headed.extend(bytes);
        prop_assert!(State::decode(&headed).is_err());
    }

    /// Pieces of an image cut out, doubled and overwritten.
    #[test]
    fn any_damage_can_be_borne(
        from in 0usize..3000, length in 0usize..64, to in 0usize..3000,
        bytes in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let image = rich().state.encode();
        let piece = |at: usize, length: usize| {
            let start = at.min(image.len());
            start..(start + length).min(image.len())
        };
        let mut damaged = image.clone();
        let copied = image[piece(from, length)].to_vec();
        let place = piece(to, bytes.len());
        damaged.splice(place, bytes.iter().copied().chain(copied));
        if damaged == image {
            return Ok(());
        }
        prop_assert!(State::decode(&damaged).is_err());
    }
}

//! Tokens that the store sees for the first time at the door: offline and NodeDB.

use jointoken::lifecycle::Phase;
use jointoken::lifecycle::record::Origin;
use jointoken::token::{Claims, Presented, Purpose, mint, mint_nodedb};

use crate::caller::{ask, ask_text, new_key};
use crate::world::{
    HOUR, MINUTE, OFFLINE_KEY, OFFLINE_MAX_TTL, Resource, SECOND, START, Token, World,
};

#[tokio::test]
async fn an_offline_token_is_registered_on_first_sight_and_admits_one() {
    let world = World::open().await;
    let token = world.offline_token(&world.offline_claims());
    assert!(world.store_record(&token).is_none());
    let key = new_key();
    let answer = ask(&world, &token, &key).await.admission();
    assert_eq!(answer.node_name, "edge-7");
    let record = world.record(&token);
    assert_eq!(record.phase, Phase::Consumed);
    assert_eq!(
        record.origin,
        Origin::Offline {
            key_id: OFFLINE_KEY,
            node_name: Some("edge-7".to_owned()),
        }
    );
    assert_eq!(ask(&world, &token, &new_key()).await.code(), "token_used");
    assert_eq!(ask(&world, &token, &key).await.admission(), answer);
}

#[tokio::test]
async fn an_offline_key_mints_for_its_pattern_and_its_time_alone() {
    let world = World::open().await;
    let claims = world.offline_claims();
    let cases = [
        (
            Claims {
                node_name: "db-1".to_owned(),
                ..claims.clone()
            },
            "node_name_not_allowed",
        ),
        (
            Claims {
                expires_at_ms: START + OFFLINE_MAX_TTL + 1,
                ..claims.clone()
            },
            "ttl_too_long",
        ),
        (
            Claims {
                issued_at_ms: START + HOUR,
                expires_at_ms: START + HOUR + MINUTE,
                ..claims
            },
            "issued_in_future",
        ),
    ];
    for (claims, code) in cases {
        let token = world.offline_token(&claims);
        let said = ask(&world, &token, &new_key()).await;
        assert_eq!((said.status.as_u16(), said.code().as_str()), (403, code));
        assert!(world.store_record(&token).is_none(), "{code}");
    }
}

#[tokio::test]
async fn an_offline_token_past_its_expiry_makes_no_record() {
    let world = World::open().await;
    let token = world.offline_token(&world.offline_claims());
    world.clock.advance(HOUR);
    let before = world.store_index();
    assert_eq!(
        ask(&world, &token, &new_key()).await.code(),
        "token_expired"
    );
    assert!(world.store_record(&token).is_none());
    assert_eq!(world.store_index(), before);
}

#[tokio::test]
async fn a_machine_of_an_offline_token_has_its_answer_after_the_expiry_too() {
    let world = World::open().await;
    let (token, key) = (world.offline_token(&world.offline_claims()), new_key());
    let first = ask(&world, &token, &key).await.admission();
    world.clock.advance(2 * HOUR);
    assert_eq!(ask(&world, &token, &key).await.admission(), first);
}

/// Names of tokens are public, and whoever holds an exported key writes what it likes into its tokens.
/// An earlier design took an offline token's name from the token: one key's holder could take that of
/// another's unused token, which was then refused.
#[tokio::test]
async fn an_offline_key_cannot_take_the_name_of_anothers_token() {
    let world = World::open().await;
    let victim = world.plain_token().await;
    let claims = Claims {
        token_id: victim.id,
        ..world.offline_claims()
    };
    let posing = world.offline_token(&claims);
    assert_ne!(posing.id, victim.id);
    let before = world.record(&victim);
    let answer = ask(&world, &posing, &new_key()).await.admission();
    assert_eq!(answer.token_id, posing.id.to_string());
    assert_eq!(world.record(&victim), before);
    ask(&world, &victim, &new_key()).await.admission();
    assert!(!world.record(&victim).contested);

    // The same random bits for another node are another token.
    let renamed = Claims {
        node_name: "edge-8".to_owned(),
        ..claims.clone()
    };
    assert_ne!(claims.node_name, renamed.node_name);
    assert_ne!(renamed.public_id(), claims.public_id());
    // Nor may it call itself a resource's.
    let posing = Claims {
        purpose: Purpose::Resource,
        ..claims
    };
    assert!(mint(&world.keys.offline, &posing, &world.delivery()).is_err());
}

#[tokio::test]
async fn nodedb_tokens_are_admitted_in_either_case_and_once() {
    let world = World::open().await;
    let text = mint_nodedb(&world.keys.nodedb, 7, (START + HOUR) / SECOND).unwrap();
    let token = Token {
        id: Presented::parse(text.expose())
            .unwrap()
            .unverified_token_id(),
        text,
    };
    let key = new_key();
    let answer = ask(&world, &token, &key).await.admission();
    assert_eq!(answer.node_name, "node-7");
    assert_eq!(world.record(&token).phase, Phase::Consumed);
    // The same 48 bytes written otherwise are the same token.
    let upper = token.text.expose().to_uppercase();
    let said = ask_text(&world, &upper, &new_key()).await;
    assert_eq!(said.code(), "token_used");
    assert_eq!(ask_text(&world, &upper, &key).await.admission(), answer);
}

#[tokio::test]
async fn nodedb_tokens_have_a_longest_life_too() {
    let world = World::open().await;
    let mint = |expires_at_ms: u64| {
        let text = mint_nodedb(&world.keys.nodedb, 8, expires_at_ms / SECOND).unwrap();
        Token {
            id: Presented::parse(text.expose())
                .unwrap()
                .unverified_token_id(),
            text,
        }
    };
    let long = mint(START + OFFLINE_MAX_TTL + MINUTE);
    assert_eq!(ask(&world, &long, &new_key()).await.code(), "ttl_too_long");
    assert!(world.store_record(&long).is_none());
    let late = mint(START - SECOND);
    assert_eq!(ask(&world, &late, &new_key()).await.code(), "token_expired");
    assert!(world.store_record(&late).is_none());
}

#[tokio::test]
async fn an_offline_machine_and_a_resources_of_one_name_are_two() {
    let world = World::open().await;
    let resource = world
        .token(Resource {
            name: "edge-7",
            namespace: "offline",
            ..Resource::default()
        })
        .await;
    let offline = world.offline_token(&world.offline_claims());
    let one = ask(&world, &resource, &new_key()).await.admission();
    let two = ask(&world, &offline, &new_key()).await.admission();
    let (one, two) = (
        crate::names::names(&one.certificate),
        crate::names::names(&two.certificate),
    );
    assert!(
        one.iter().all(|name| !two.contains(name)),
        "{one:?} {two:?}"
    );
}
